/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the HDF5 structure around the arrays of a packed set. HDF5 places all arrays; the large ones are
 * written by pwrite() in between: HDF5 sees a few kilobytes. Not beside other calls of HDF5. */
#ifndef SDTRAIN_DATA_HDF5_PACKED_H
#define SDTRAIN_DATA_HDF5_PACKED_H

#include "packed.h"

/* Makes the file, with room for the images: kind, height, width, and images (decoded) or the bytes of the array
 * (encoded) are the header's; sets where it lies, and the bytes. SD_ERR_IO. */
sd_status sd_hdf5_packed_create(const char *path, sd_packed_header *header);

/* Adds the rest: labels, offsets of encoded images, names of classes, mean, deviation, attributes. Sets place, length
 * and digest of these arrays. SD_ERR_IO. */
sd_status sd_hdf5_packed_finish(const char *path, sd_packed_header *header, const sd_packed_tables *tables);

/* Whether HDF5 finds the arrays of a file where its header says, with the types of packed.h. Only of a file of this
 * process: HDF5 trusts what it reads. SD_ERR_INTERNAL. */
sd_status sd_hdf5_packed_compare(const char *path, const sd_packed_header *header);

#endif
