/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a packed set under construction, OUT.part. */
#ifndef SDTRAIN_DATA_PACK_FILE_H
#define SDTRAIN_DATA_PACK_FILE_H

#include <xxhash.h>

#include "packed.h"
#include "sdtrain/pack.h"

typedef struct sd_pack_file {
    const char *out;
    char part[4200];
    int fd; /* -1: there is no file */
    sd_packed_header header;
    sd_packed_part now;   /* the array of images that is written */
    uint64_t written;     /* bytes of it */
    XXH3_state_t *digest; /* of these */
} sd_pack_file;

/* Makes the file, with room on the disk for header's images. header: as for sd_hdf5_packed_create(). Discarded by the
 * caller, also on failure. SD_ERR_IO. */
sd_status sd_pack_file_create(const char *out, const sd_packed_header *header, sd_pack_file *file);

/* The images of one part, in order: begin, append all, end. SD_ERR_IO. */
void sd_pack_file_begin(sd_pack_file *file, bool test);
sd_status sd_pack_file_append(sd_pack_file *file, const void *bytes, size_t n_bytes);
sd_status sd_pack_file_end(sd_pack_file *file);

/* Adds the tables, seals and verifies the file, and gives it its name. SD_ERR_IO, SD_ERR_DATA (what was written is not
 * what is read), SD_STOPPED. */
sd_status sd_pack_file_finish(sd_pack_file *file, const sd_packed_tables *tables, const sd_pack_watch *watch);

/* Removes OUT.part, if it is there and this one's. */
void sd_pack_file_discard(sd_pack_file *file);

/* The digest of the bytes behind the header that no array has. */
sd_status sd_packed_digest_rest(int fd, const char *path, const sd_packed_header *header,
                                unsigned char digest[SD_PACKED_DIGEST_BYTES]);

#endif
