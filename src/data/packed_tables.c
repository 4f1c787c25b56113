/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays of a packed set that are held in memory: labels, offsets, names of classes. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "packed.h"
#include "sdtrain/arena.h"

/* Allocates no more than the file is long: the header has been checked. place: NULL if there is no such array. */
static sd_status read_array(int fd, const char *path, const sd_packed_header *h, sd_packed_part part, void *place,
                            sd_packed_tables *tables) {
    const sd_packed_array *array = &h->array[part];
    unsigned char digest[SD_PACKED_DIGEST_BYTES];
    void *bytes;
    if (array->bytes == 0)
        return SD_OK;
    SD_TRY(sd_alloc(&bytes, array->bytes, 1));
    memcpy(place, &bytes, sizeof bytes); /* the caller's, who frees */
    SD_TRY(sd_packed_read(fd, path, bytes, array->bytes, array->at));
    sd_packed_digest(bytes, array->bytes, digest);
    if (memcmp(digest, array->digest, sizeof digest) != 0)
        return sd_fail(SD_ERR_DATA, "%s: %s is altered (another XXH3-128); copy or pack it again", path,
                       sd_packed_path(h->kind, part));
    tables->bytes += array->bytes;
    return SD_OK;
}

static sd_status bad(const char *path, const sd_packed_header *h, sd_packed_part part, uint64_t i, const char *what) {
    return sd_fail(SD_ERR_DATA, "%s: %s[%llu] %s; pack it again", path, sd_packed_path(h->kind, part),
                   (unsigned long long)i, what);
}

static sd_status check_offsets(const char *path, const sd_packed_header *h, bool test, uint64_t *offsets) {
    const sd_packed_part part = sd_packed_part_of(SD_PACKED_OFFSETS, test);
    const uint64_t bytes = h->array[sd_packed_part_of(SD_PACKED_IMAGES, test)].bytes, images = h->images[test];
    for (uint64_t i = 0; i <= images; i++) {
        offsets[i] = le64toh(offsets[i]);
        if (i == 0 ? offsets[i] != 0 : offsets[i] <= offsets[i - 1])
            return bad(path, h, part, i, i == 0 ? "is not 0" : "is not above the one before");
        if (offsets[i] > bytes || (i > 0 && offsets[i] - offsets[i - 1] > SD_PACKED_MOST_FILE_BYTES))
            return bad(path, h, part, i, "lies outside, or the image is too long");
    }
    return SD_OK;
}

static sd_status check_labels(const char *path, const sd_packed_header *h, bool test, int32_t *labels) {
    for (uint64_t i = 0; i < h->images[test]; i++) {
        labels[i] = (int32_t)le32toh((uint32_t)labels[i]);
        if (labels[i] < 0 || (uint32_t)labels[i] >= h->classes)
            return bad(path, h, sd_packed_part_of(SD_PACKED_LABELS, test), i, "is the label of no class");
    }
    return SD_OK;
}

sd_status sd_packed_tables_read(int fd, const char *path, const sd_packed_header *h, sd_packed_tables *tables) {
    SD_TRY(read_array(fd, path, h, SD_PACKED_CLASSES, &tables->names, tables));
    tables->name_bytes = h->array[SD_PACKED_CLASSES].bytes / h->classes;
    for (uint64_t c = 0; c < h->classes; c++)
        if (tables->names[(c + 1) * tables->name_bytes - 1] != '\0')
            return bad(path, h, SD_PACKED_CLASSES, c, "has no end");
    for (int test = 0; test < 2; test++) {
        SD_TRY(read_array(fd, path, h, sd_packed_part_of(SD_PACKED_LABELS, test), &tables->labels[test], tables));
        SD_TRY(check_labels(path, h, test, tables->labels[test]));
        SD_TRY(read_array(fd, path, h, sd_packed_part_of(SD_PACKED_OFFSETS, test), &tables->offsets[test], tables));
        if (tables->offsets[test])
            SD_TRY(check_offsets(path, h, test, tables->offsets[test]));
    }
    return SD_OK;
}

void sd_packed_tables_free(sd_packed_tables *tables) {
    for (int test = 0; test < 2; test++) {
        free(tables->offsets[test]);
        free(tables->labels[test]);
    }
    free(tables->names);
    *tables = (sd_packed_tables){0};
}
