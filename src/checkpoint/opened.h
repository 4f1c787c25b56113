/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: an opened file, and the lock that every call of HDF5 needs. */
#ifndef SDTRAIN_CHECKPOINT_OPENED_H
#define SDTRAIN_CHECKPOINT_OPENED_H

#include <hdf5.h>

#include "sdtrain/checkpoint.h"

struct sd_checkpoint_file {
    char *path;
    unsigned char *bytes; /* the whole file, which HDF5 reads from */
    size_t n_bytes;
    hid_t file;
};

void sd_hdf5_lock(void);
void sd_hdf5_unlock(void);

/* SD_ERR_DATA with path and name if the file holds anything but hard links to groups and to datasets whose bytes lie in
 * it. Needs the lock; nothing is opened by name before. */
sd_status sd_checkpoint_gate(const sd_checkpoint_file *file);

#endif
