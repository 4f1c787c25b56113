/* SPDX-License-Identifier: Apache-2.0 */
/* The 512 bytes in front of a packed set, little-endian:
 *
 *     0 "SDIMAGES" | 8 version | 16 length of the file | 24 XXH3-128 of these 512 bytes, its own being zero
 *     40 kind | 48 height | 56 width | 64 classes | 72 training images | 80 test images
 *     88 mean f32 [3] | 100 std f32 [3] | 112 digest of the rest of the file
 *     128 arrays [7] of: offset, bytes, digest | 352 zero ... 511 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "image.h"
#include "packed.h"
#include "sdtrain/file.h"

enum { MAGIC_BYTES = 8, DIGEST_AT = 24, REST_AT = 112, ARRAYS_AT = 128, ARRAY_BYTES = 32 };
static const char MAGIC[MAGIC_BYTES] = {'S', 'D', 'I', 'M', 'A', 'G', 'E', 'S'};
#define REMEDY "`sdtrain pack` makes such files"

const char *sd_packed_path(sd_packed_kind kind, sd_packed_part part) {
    static const char *const paths[2][SD_PACKED_PARTS] = {
        {"/classes", "/train/images", "/train/offsets", "/train/labels", "/val/images", "/val/offsets", "/val/labels"},
        {"/classes", "/train/encoded", "/train/offsets", "/train/labels", "/val/encoded", "/val/offsets",
         "/val/labels"}};
    return paths[kind][part];
}

bool sd_packed_is(const unsigned char *bytes, size_t n_bytes) {
    return n_bytes >= MAGIC_BYTES && !memcmp(bytes, MAGIC, MAGIC_BYTES);
}

void sd_packed_digest(const void *bytes, size_t n_bytes, unsigned char digest[SD_PACKED_DIGEST_BYTES]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, n_bytes));
    memcpy(digest, canonical.digest, SD_PACKED_DIGEST_BYTES);
}

/* ---- numbers ---- */

static void put(unsigned char *to, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t get(const unsigned char *from, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number |= (uint64_t)from[i] << (8 * i);
    return number;
}

static void put_floats(unsigned char *to, const float *values) {
    for (int c = 0; c < SD_CHANNELS; c++) {
        uint32_t bits;
        memcpy(&bits, &values[c], sizeof bits);
        put(to + 4 * c, bits, 4);
    }
}

static void get_floats(const unsigned char *from, float *values) {
    for (int c = 0; c < SD_CHANNELS; c++) {
        const uint32_t bits = (uint32_t)get(from + 4 * c, 4);
        memcpy(&values[c], &bits, sizeof bits);
    }
}

void sd_packed_header_write(const sd_packed_header *header, unsigned char bytes[SD_PACKED_HEADER_BYTES]) {
    const uint64_t numbers[] = {header->kind,    header->height,    header->width,
                                header->classes, header->images[0], header->images[1]};
    memset(bytes, 0, SD_PACKED_HEADER_BYTES);
    memcpy(bytes, MAGIC, MAGIC_BYTES);
    put(bytes + 8, SD_PACKED_VERSION, 8);
    put(bytes + 16, header->file_bytes, 8);
    for (int i = 0; i < 6; i++)
        put(bytes + 40 + 8 * i, numbers[i], 8);
    put_floats(bytes + 88, header->mean);
    put_floats(bytes + 100, header->deviation);
    memcpy(bytes + REST_AT, header->rest, SD_PACKED_DIGEST_BYTES);
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        unsigned char *row = bytes + ARRAYS_AT + ARRAY_BYTES * i;
        put(row, header->array[i].at, 8);
        put(row + 8, header->array[i].bytes, 8);
        memcpy(row + 16, header->array[i].digest, SD_PACKED_DIGEST_BYTES);
    }
    sd_packed_digest(bytes, SD_PACKED_HEADER_BYTES, bytes + DIGEST_AT);
}

/* A number that must fit in 32 bits; one that does not becomes the largest, which no check lets pass. */
static uint32_t get_small(const unsigned char *from) {
    const uint64_t number = get(from, 8);
    return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

void sd_packed_header_get(const unsigned char bytes[SD_PACKED_HEADER_BYTES], sd_packed_header *header) {
    header->file_bytes = get(bytes + 16, 8);
    header->kind = get(bytes + 40, 8) == 0 ? SD_PACKED_DECODED : SD_PACKED_ENCODED;
    header->height = get_small(bytes + 48);
    header->width = get_small(bytes + 56);
    header->classes = get_small(bytes + 64);
    header->images[0] = get_small(bytes + 72);
    header->images[1] = get_small(bytes + 80);
    get_floats(bytes + 88, header->mean);
    get_floats(bytes + 100, header->deviation);
    memcpy(header->rest, bytes + REST_AT, SD_PACKED_DIGEST_BYTES);
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        const unsigned char *row = bytes + ARRAYS_AT + ARRAY_BYTES * i;
        header->array[i].at = get(row, 8);
        header->array[i].bytes = get(row + 8, 8);
        memcpy(header->array[i].digest, row + 16, SD_PACKED_DIGEST_BYTES);
    }
}

/* ---- checks ---- */

static sd_status check_seal(const char *path, const unsigned char *bytes, size_t n_bytes, uint64_t file_bytes) {
    unsigned char copy[SD_PACKED_HEADER_BYTES], digest[SD_PACKED_DIGEST_BYTES];
    if (n_bytes == 0)
        return sd_fail(SD_ERR_DATA, "%s: is empty; " REMEDY, path);
    if (!sd_packed_is(bytes, n_bytes))
        return sd_fail(SD_ERR_DATA,
                       "%s: is not a packed set (its first bytes are others); " REMEDY
                       ", also from plain HDF5 files with images and labels",
                       path);
    if (n_bytes < SD_PACKED_HEADER_BYTES)
        return sd_fail(SD_ERR_DATA, "%s: is cut: of its first %d bytes, %zu are left; copy or pack it again", path,
                       SD_PACKED_HEADER_BYTES, n_bytes);
    if (get(bytes + 8, 8) != SD_PACKED_VERSION)
        return sd_fail(SD_ERR_DATA,
                       "%s: was packed by another version (format %llu, this version reads %d); pack it again", path,
                       (unsigned long long)get(bytes + 8, 8), SD_PACKED_VERSION);
    if (get(bytes + 16, 8) != file_bytes)
        return sd_fail(SD_ERR_DATA, "%s: %s: it has %llu bytes, and was written with %llu; copy or pack it again", path,
                       file_bytes < get(bytes + 16, 8) ? "is cut" : "has grown", (unsigned long long)file_bytes,
                       (unsigned long long)get(bytes + 16, 8));
    memcpy(copy, bytes, sizeof copy);
    memset(copy + DIGEST_AT, 0, SD_PACKED_DIGEST_BYTES);
    sd_packed_digest(copy, sizeof copy, digest);
    if (memcmp(digest, bytes + DIGEST_AT, sizeof digest) != 0)
        return sd_fail(SD_ERR_DATA, "%s: its header is altered (another XXH3-128); copy or pack it again", path);
    return SD_OK;
}

static sd_status cannot_be(const char *path, const char *what) {
    return sd_fail(SD_ERR_DATA, "%s: its header cannot be: %s; pack it again", path, what);
}

/* The bytes that an array must have; UINT64_MAX: any number. */
static uint64_t bytes_of(const sd_packed_header *h, sd_packed_part part) {
    const bool test = part >= SD_PACKED_VAL_IMAGES, encoded = h->kind == SD_PACKED_ENCODED;
    const uint64_t images = h->images[test];
    if (part == SD_PACKED_CLASSES)
        return UINT64_MAX;
    if (images == 0)
        return 0;
    switch (test ? part - (SD_PACKED_VAL_IMAGES - SD_PACKED_IMAGES) : part) {
    case SD_PACKED_IMAGES:
        return encoded ? UINT64_MAX : images * h->height * h->width * SD_CHANNELS;
    case SD_PACKED_OFFSETS:
        return encoded ? (images + 1) * sizeof(uint64_t) : 0;
    default:
        return images * sizeof(int32_t);
    }
}

static sd_status check_numbers(const char *path, const unsigned char *bytes, const sd_packed_header *h) {
    if (get(bytes + 40, 8) > SD_PACKED_ENCODED)
        return cannot_be(path, "its kind is neither decoded nor encoded");
    const bool has_size = h->height >= 1 && h->width >= 1 && h->height <= SD_IMAGE_MOST_SIDE &&
                          h->width <= SD_IMAGE_MOST_SIDE && (uint64_t)h->height * h->width <= SD_IMAGE_MOST_PIXELS;
    if (h->kind == SD_PACKED_DECODED ? !has_size : h->height != 0 || h->width != 0)
        return cannot_be(path, "height or width is out of range");
    if (h->classes < 1 || h->classes > SD_PACKED_MOST_CLASSES)
        return cannot_be(path, "the number of classes is out of range");
    if (h->images[0] < 1 || h->images[0] == UINT32_MAX || h->images[1] == UINT32_MAX)
        return cannot_be(path, "the number of images is out of range");
    for (int c = 0; c < SD_CHANNELS; c++)
        if (!isfinite(h->mean[c]) || !isfinite(h->deviation[c]) || !(h->deviation[c] > 0))
            return cannot_be(path, "mean or deviation is no number, or that is not above 0");
    return SD_OK;
}

static int by_place(const void *a, const void *b) {
    const sd_packed_array *const *x = a, *const *y = b;
    return ((*x)->at > (*y)->at) - ((*x)->at < (*y)->at);
}

static sd_status check_arrays(const char *path, const sd_packed_header *h) {
    const sd_packed_array *sorted[SD_PACKED_PARTS];
    uint64_t end = SD_PACKED_HEADER_BYTES;
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        const sd_packed_array *array = sorted[i] = &h->array[i];
        const uint64_t wanted = bytes_of(h, (sd_packed_part)i);
        if (wanted != UINT64_MAX ? array->bytes != wanted : array->bytes == 0)
            return cannot_be(path, "the length of an array is not that of its images");
    }
    const uint64_t names = h->array[SD_PACKED_CLASSES].bytes;
    if (names % h->classes != 0 || names > SD_PACKED_MOST_NAMES_BYTES)
        return cannot_be(path, "the names of classes have another length");
    qsort(sorted, SD_PACKED_PARTS, sizeof sorted[0], by_place);
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        if (sorted[i]->bytes == 0 && sorted[i]->at == 0)
            continue;
        if (sorted[i]->bytes == 0 || sorted[i]->at < end || sorted[i]->bytes > h->file_bytes ||
            sorted[i]->at > h->file_bytes - sorted[i]->bytes)
            return cannot_be(path, "an array lies outside, or on another one");
        end = sorted[i]->at + sorted[i]->bytes;
    }
    return SD_OK;
}

sd_status sd_packed_header_read(const char *path, const unsigned char *bytes, size_t n_bytes, uint64_t file_bytes,
                                sd_packed_header *header) {
    SD_TRY(check_seal(path, bytes, n_bytes, file_bytes));
    sd_packed_header_get(bytes, header);
    SD_TRY(check_numbers(path, bytes, header));
    return check_arrays(path, header);
}

/* ---- files ---- */

sd_status sd_packed_read(int fd, const char *path, void *bytes, size_t n_bytes, uint64_t at) {
    unsigned char *to = bytes;
    while (n_bytes > 0) {
        const ssize_t got = pread(fd, to, n_bytes, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", path, got < 0 ? strerror(errno) : "it ends early");
        to += got;
        at += (uint64_t)got;
        n_bytes -= (size_t)got;
    }
    return SD_OK;
}

static sd_status read_header(int fd, const char *path, size_t file_bytes, sd_packed_header *header) {
    unsigned char bytes[SD_PACKED_HEADER_BYTES];
    const size_t n = file_bytes < sizeof bytes ? file_bytes : sizeof bytes;
    SD_TRY(sd_packed_read(fd, path, bytes, n, 0));
    return sd_packed_header_read(path, bytes, n, file_bytes, header);
}

sd_status sd_packed_open(const char *path, int *fd, sd_packed_header *header) {
    size_t file_bytes;
    *fd = -1;
    sd_status status = sd_file_open(path, fd, &file_bytes);
    if (status == SD_ERR_DATA)
        return sd_fail(SD_ERR_DATA,
                       "%s: is not a regular file; dataset = hdf5 reads one file, which `sdtrain pack` makes", path);
    SD_TRY(status);
    status = read_header(*fd, path, file_bytes, header);
    if (status == SD_OK)
        return SD_OK;
    close(*fd);
    *fd = -1;
    return status;
}
