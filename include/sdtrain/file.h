/* SPDX-License-Identifier: Apache-2.0 */
/* Files, read and written whole: a file that is there under its name is complete, and stays so when the power fails.
 *
 * Local. Files are written with the user's umask, never through a symbolic link, and texts and logs only over what is a
 * regular file: a run's folder may be a link (people keep runs where there is room); a link in place of one of its
 * files leads somewhere that nobody meant to be written to.
 *
 * Where a file system or a container does not have an operation that only makes a file safer (to sync a file or a
 * folder, to rename over a file), it is done without, with one warning. Errors: SD_ERR_IO with path and reason. */
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

/* Opens a regular file, without waiting for the writer of a pipe. *n_bytes: its length. Caller closes *fd.
 * SD_ERR_NOINPUT if it cannot be opened, SD_ERR_DATA if it is no regular file. */
sd_status sd_file_open(const char *path, int *fd, size_t *n_bytes);

/* The next n_bytes into bytes. SD_ERR_NOINPUT if they cannot be read or the file ends before. path: for the message. */
sd_status sd_file_read(int fd, const char *path, void *bytes, size_t n_bytes);

/* A file whole, a zero behind its *n_bytes. Caller frees *text, NULL on failure. Errors as of
 * these two; SD_ERR_DATA also if it has more than most_bytes. */
sd_status sd_file_get(const char *path, size_t most_bytes, char **text, size_t *n_bytes);

/* ---- writing ---- */

/* A whole text, its last line ended, in place of what is there, in one move: PATH.part, synced, then renamed. Where it
 * fails, what was there stays as it was, or, where a rename does not replace files and has failed twice, PATH.part
 * is left, whole. */
sd_status sd_file_put(const char *path, const char *text);

/* The same for bytes. */
sd_status sd_file_write(const char *path, const void *bytes, size_t n_bytes);

/* Removes the PATH.part that a killed sd_file_put() or sd_file_write() has left. */
void sd_file_discard_part(const char *path);

/* A log, made if it is not there, cut to its first *keep_bytes, to go on behind them; *keep_bytes becomes what there
 * was, if that is less. Caller closes. */
sd_status sd_file_open_log(const char *path, uint64_t *keep_bytes, FILE **file);

/* mkdir -p. *made_from: the parts of path that end beyond so many bytes were made by this call, the others were there
 * before. */
sd_status sd_file_make_folders(const char *path, size_t *made_from);

/* Renames over what may be there under the new name, and syncs the folder. */
sd_status sd_file_rename(const char *from, const char *to);

/* To the disk: what was written to a file; and that there is one, or none, of this name in its folder. path of the
 * first: for the message. */
sd_status sd_file_sync(int fd, const char *path);
sd_status sd_file_sync_folder_of(const char *path);

/* Opens /dev/null where a process was started without standard input, output or error (`>&-`): else the next file that
 * is opened gets its number, and messages land in it. Called first in main(). */
void sd_file_reserve_standard_streams(void);

#ifdef __cplusplus
}
#endif
#endif
