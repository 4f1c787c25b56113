/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: the 512 bytes in front of the HDF5 data.
 *
 *     bytes 0..7 "SDTRAIN\n" | 8..15 seal version | 16..23 length of the file | 24..39 XXH3-128 (canonical) | 0 ... 511
 *
 * Numbers are little-endian. The digest is taken over the whole file, its own bytes being zero. */
#ifndef SDTRAIN_CHECKPOINT_SEAL_H
#define SDTRAIN_CHECKPOINT_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "sdtrain/status.h"

enum { SD_SEAL_BYTES = 512 };

/* Writes the seal of file[0 .. bytes) into its first SD_SEAL_BYTES. */
void sd_seal_make(unsigned char *file, size_t bytes);

/* Whether a file begins as a sealed one does. bytes: at least SD_SEAL_MAGIC_BYTES. */
enum { SD_SEAL_MAGIC_BYTES = 8 };
bool sd_seal_begins(const unsigned char *bytes);

/* SD_ERR_DATA with path and reason if the seal is not that of the file. */
sd_status sd_seal_check(const char *path, unsigned char *file, size_t bytes);

/* Reads and checks a whole sealed file; allocates only after the first SD_SEAL_BYTES are checked. Caller frees *file.
 * SD_ERR_NOINPUT, SD_ERR_DATA. */
sd_status sd_seal_read(const char *path, unsigned char **file, size_t *bytes);

#endif
