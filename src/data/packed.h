/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a packed set, one HDF5 file with all images of a data set.
 *
 *     /train/images    u8 [N, H, W, 3]           decoded: pixels, of images of one size
 *     /train/encoded   u8 [bytes]                or encoded: JPEG and PNG files, one behind the other; there may be
 *                                                zeros behind the last
 *     /train/offsets   u64 [N + 1]               image i is encoded[offsets[i] : offsets[i + 1]]
 *     /train/labels    i32 [N]
 *     /val/...                                   the same, if there are test images
 *     /classes         [classes] of fixed length, zero behind each
 *     /mean, /std      f32 [3]                   of the training pixels in 0..1
 *     attributes of /  format_version, kind ("decoded", "encoded")
 *
 * All arrays are contiguous and little-endian. The 512-byte user block in front is a table of where they lie, with
 * their digests: who trains reads the table and then the arrays by pread(), many threads at once, and never calls HDF5,
 * which has a global lock and trusts the files that it parses.
 */
#ifndef SDTRAIN_DATA_PACKED_H
#define SDTRAIN_DATA_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

enum {
    SD_PACKED_HEADER_BYTES = 512,
    SD_PACKED_VERSION = 1,
    SD_PACKED_DIGEST_BYTES = 16,
    SD_PACKED_MOST_CLASSES = 1 << 24,
    SD_PACKED_MOST_NAMES_BYTES = 1 << 26, /* of /classes */
    SD_PACKED_MOST_FILE_BYTES = 1 << 29   /* of an encoded image */
};

typedef enum sd_packed_kind { SD_PACKED_DECODED, SD_PACKED_ENCODED } sd_packed_kind;

/* The arrays of the table, /train before /val. */
typedef enum sd_packed_part {
    SD_PACKED_CLASSES,
    SD_PACKED_IMAGES, /* images or encoded */
    SD_PACKED_OFFSETS,
    SD_PACKED_LABELS,
    SD_PACKED_VAL_IMAGES,
    SD_PACKED_VAL_OFFSETS,
    SD_PACKED_VAL_LABELS,
    SD_PACKED_PARTS
} sd_packed_part;

static inline sd_packed_part sd_packed_part_of(sd_packed_part part, bool test) {
    return test ? part + (SD_PACKED_VAL_IMAGES - SD_PACKED_IMAGES) : part;
}

typedef struct sd_packed_array {
    uint64_t at, bytes;                           /* in the file; 0 and 0: there is none */
    unsigned char digest[SD_PACKED_DIGEST_BYTES]; /* XXH3-128, canonical, of its bytes */
} sd_packed_array;

typedef struct sd_packed_header {
    uint64_t file_bytes;
    sd_packed_kind kind;
    uint32_t height, width; /* decoded; else 0 */
    uint32_t classes;
    uint32_t images[2]; /* training, test */
    float mean[SD_CHANNELS], deviation[SD_CHANNELS];
    sd_packed_array array[SD_PACKED_PARTS];
    unsigned char rest[SD_PACKED_DIGEST_BYTES]; /* of the bytes behind the header that no array has, in order */
} sd_packed_header;

/* The name of an array in the file, "/train/labels". */
const char *sd_packed_path(sd_packed_kind kind, sd_packed_part part);

/* Whether these bytes begin a packed set. */
bool sd_packed_is(const unsigned char *bytes, size_t n_bytes);

/* The header as bytes, with its digest. */
void sd_packed_header_write(const sd_packed_header *header, unsigned char bytes[SD_PACKED_HEADER_BYTES]);
/* And back, unchecked. */
void sd_packed_header_get(const unsigned char bytes[SD_PACKED_HEADER_BYTES], sd_packed_header *header);
/* The same, and checks all of it: every number is in its range, the arrays have the lengths that these say, lie within
 * the file, and do not overlap. bytes: [n_bytes] that the file begins with, file_bytes: its length. SD_ERR_DATA with
 * what to do. */
sd_status sd_packed_header_read(const char *path, const unsigned char *bytes, size_t n_bytes, uint64_t file_bytes,
                                sd_packed_header *header);

/* Opens a file and reads its header. The caller closes *fd, which is -1 on failure. SD_ERR_NOINPUT, SD_ERR_DATA. */
sd_status sd_packed_open(const char *path, int *fd, sd_packed_header *header);

/* pread() of all n_bytes. SD_ERR_NOINPUT. */
sd_status sd_packed_read(int fd, const char *path, void *bytes, size_t n_bytes, uint64_t at);

/* Digests of the table. */
void sd_packed_digest(const void *bytes, size_t n_bytes, unsigned char digest[SD_PACKED_DIGEST_BYTES]);

/* The small arrays of an open file, in this machine's byte order, checked: digests, offsets rise and lie within, labels
 * are of a class, names end. Begins as {0}; freed by the caller, also on failure. */
typedef struct sd_packed_tables {
    uint64_t *offsets[2];     /* of encoded sets: [images + 1] */
    int32_t *labels[2];       /* [images] */
    char *names;              /* [classes][name_bytes] */
    size_t name_bytes, bytes; /* of all of them */
} sd_packed_tables;
sd_status sd_packed_tables_read(int fd, const char *path, const sd_packed_header *header, sd_packed_tables *tables);
void sd_packed_tables_free(sd_packed_tables *tables);

/* As sd_found_of_bytes(), of bytes that begin with SD_FOUND_PACKED. */
sd_status sd_packed_found_of_bytes(void *bytes, size_t n_bytes, sd_found **found);

#endif
