/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: the 512 bytes in front of the HDF5 data.
 *
 *     bytes 0..7 "SDTRAIN\n" | 8..15 seal version | 16..23 length of the file | 24..39 XXH3-128 (canonical) | 0 ... 511
 *
 * Numbers are little-endian. The digest is that of the whole file with the digest's own bytes zero. */
#ifndef SDTRAIN_CHECKPOINT_SEAL_H
#define SDTRAIN_CHECKPOINT_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "sdtrain/status.h"

enum { SD_SEAL_BYTES = 512 };

/* Writes the seal of file[0 .. bytes) into its first SD_SEAL_BYTES. */
void sd_seal_make(unsigned char *file, size_t bytes);

/* SD_ERR_DATA with path and reason if the seal does not fit. */
sd_status sd_seal_check(const char *path, unsigned char *file, size_t bytes);

/* Reads a sealed file whole and checks it: its first bytes before memory is taken for the others. Caller frees *file.
 * SD_ERR_NOINPUT, SD_ERR_DATA. */
sd_status sd_seal_read(const char *path, unsigned char **file, size_t *bytes);

#endif
