/* Files that a run writes: with the user's umask, never through a symbolic link, and only over what is a regular file.
 *
 * Local. A run's folder may be a link (people keep runs where there is room); a link in place of one of its files leads somewhere
 * that nobody meant to be written to. Errors: SD_ERR_IO with path and reason. */
#ifndef SDTRAIN_FILE_H
#define SDTRAIN_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A whole text, its last line ended, in place of what is there, in one move: PATH.part, then renamed. Where it fails, what was there
 * stays as it was. */
sd_status sd_file_put(const char *path, const char *text);

/* A log, made if it is not there, cut to its first *keep_bytes, to go on behind them; *keep_bytes becomes what there was, if that is
 * less. Caller closes. */
sd_status sd_file_open_log(const char *path, uint64_t *keep_bytes, FILE **file);

#ifdef __cplusplus
}
#endif
#endif
