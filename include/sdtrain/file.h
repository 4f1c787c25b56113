/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing whole files: a file under its name is complete, also after a power failure.
 *
 * Local. Files get the user's umask. A file is never written through a symbolic link, and texts and logs replace
 * regular files only: a run's folder may be a link, but a link in place of one of its files leads where the user did
 * not mean to write.
 *
 * If a file system lacks an operation that only makes a file safer (sync of a file or folder, rename over a file), it
 * is skipped with one warning. Errors: SD_ERR_IO with path and reason. */
#ifndef SDTRAIN_FILE_H
#define SDTRAIN_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ---- */

/* Opens a regular file; never waits for the writer of a pipe. *n_bytes: its length. Caller closes *fd. SD_ERR_NOINPUT
 * if it cannot be opened, SD_ERR_DATA if it is no regular file. */
sd_status sd_file_open(const char *path, int *fd, size_t *n_bytes);

/* Reads the next n_bytes. SD_ERR_NOINPUT if they cannot be read or the file ends early. path: for the message. */
sd_status sd_file_read(int fd, const char *path, void *bytes, size_t n_bytes);

/* Reads a whole file of *n_bytes, and appends a zero. Caller frees *text, NULL on failure. Errors of sd_file_open() and
 * sd_file_read(); SD_ERR_DATA also if the file is longer than most_bytes. */
sd_status sd_file_get(const char *path, size_t most_bytes, char **text, size_t *n_bytes);

/* ---- writing ---- */

/* Replaces a file by a text, and a newline after its last line, atomically: writes PATH.part, syncs, renames. On
 * failure the old file stays; or, if rename does not replace files and failed twice, PATH.part stays, complete. */
sd_status sd_file_put(const char *path, const char *text);

/* Likewise for bytes, unchanged. */
sd_status sd_file_write(const char *path, const void *bytes, size_t n_bytes);

/* Removes PATH.part, left by a killed sd_file_put() or sd_file_write(). */
void sd_file_discard_part(const char *path);

/* Opens a log for appending, creating it if missing, and cuts it to *keep_bytes; a shorter log sets *keep_bytes to its
 * length. Caller closes *file. */
sd_status sd_file_open_log(const char *path, uint64_t *keep_bytes, FILE **file);

/* mkdir -p. *made_from: this call created the folders of path that end beyond this many bytes. */
sd_status sd_file_make_folders(const char *path, size_t *made_from);

/* Renames a file, replacing `to` if it exists, and syncs the folder. */
sd_status sd_file_rename(const char *from, const char *to);

/* Sync a file's content (path: for the message); and the entry of path in its folder. */
sd_status sd_file_sync(int fd, const char *path);
sd_status sd_file_sync_folder_of(const char *path);

/* Opens /dev/null in place of a closed standard input, output or error (`>&-`); else the next opened file would get its
 * number and receive messages. Called first in main(). */
void sd_file_reserve_standard_streams(void);

#ifdef __cplusplus
}
#endif
#endif
