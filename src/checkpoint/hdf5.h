/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: an opened file, the names and types in it, and the lock that every call of HDF5 needs.
 *
 * Only this room calls HDF5, behind one mutex, and on files in memory. The functions below the lock require it to be
 * held. */
#ifndef SDTRAIN_CHECKPOINT_HDF5_H
#define SDTRAIN_CHECKPOINT_HDF5_H

#include <hdf5.h>

#include "sdtrain/checkpoint.h"

enum {
    SD_FORMAT_VERSION = 1,
    SD_IMAGE_STEP_BYTES = 1 << 20, /* growth of a file in memory */
    SD_PATH_BYTES = 192            /* of a dataset: a group (/communication/error/<rank>) and a tensor's name */
};
_Static_assert((int)SD_NAME_BYTES + 64 <= (int)SD_PATH_BYTES && (int)SD_PATH_BYTES <= (int)SD_ENTRY_PATH,
               "every path of a tensor fits");

struct sd_checkpoint_file {
    char *path;
    unsigned char *bytes; /* the whole file, which HDF5 reads from */
    size_t n_bytes;
    hid_t file;
};

void sd_hdf5_lock(void);
void sd_hdf5_unlock(void);

/* The HDF5 type of a text of `bytes`, its zero included. Caller closes it. */
hid_t sd_hdf5_text_type(size_t bytes);

/* The type of a member of sd_progress. */
#define SD_HDF5_TYPE_OF(number) _Generic((number), uint64_t : H5T_NATIVE_UINT64, double : H5T_NATIVE_DOUBLE)

/* Reads a dataset, which must have this shape; converts numbers. SD_ERR_DATA with path, name and reason. */
sd_status sd_hdf5_read_array(const sd_checkpoint_file *from, const char *path, hid_t type, int dims, const int *shape,
                             void *data);

/* SD_ERR_DATA with path and name if the file has anything but hard links to groups and to datasets whose bytes lie in
 * it. Call before any object is opened by name. */
sd_status sd_checkpoint_gate(const sd_checkpoint_file *file);

/* The path of num_batches_tracked of a counted tensor's layer. */
void sd_checkpoint_counter_path(const sd_tensor *tensor, char path[SD_PATH_BYTES]);

/* The group of a rank's error feedback. */
void sd_checkpoint_error_group(int rank, char group[SD_PATH_BYTES]);

/* Elements of the largest tensor, so that scratch of this size holds any. */
size_t sd_checkpoint_scratch_elems(const sd_network *network);

#endif
