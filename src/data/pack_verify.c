/* SPDX-License-Identifier: Apache-2.0 */
/* The digest of every byte of a packed set. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "pack_file.h"
#include "packed.h"
#include "sdtrain/arena.h"

enum { BLOCK_BYTES = 1 << 22 };

typedef struct walk {
    int fd;
    const char *path;
    const sd_pack_watch *watch; /* NULL: nobody */
    uint64_t done, all;
    XXH3_state_t *state;
    unsigned char *block; /* [BLOCK_BYTES] */
} walk;

static sd_status begin_walk(walk *w, int fd, const char *path, const sd_packed_header *header) {
    *w = (walk){.fd = fd, .path = path, .all = header->file_bytes, .state = XXH3_createState()};
    if (!w->state)
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory", path);
    return sd_alloc(&w->block, BLOCK_BYTES, 1);
}

static void end_walk(walk *w) {
    XXH3_freeState(w->state);
    free(w->block);
}

static sd_status feed(walk *w, uint64_t at, uint64_t bytes) {
    while (bytes > 0) {
        const size_t n = bytes < BLOCK_BYTES ? (size_t)bytes : BLOCK_BYTES;
        if (w->watch && w->watch->stopped && w->watch->stopped())
            return sd_fail(SD_STOPPED, "stopped by a signal");
        SD_TRY(sd_packed_read(w->fd, w->path, w->block, n, at));
        XXH3_128bits_update(w->state, w->block, n);
        at += n;
        bytes -= n;
        w->done += n;
        if (w->watch && w->watch->progress)
            w->watch->progress(w->watch->context, "verifying", w->done, w->all);
    }
    return SD_OK;
}

static void take_digest(const walk *w, unsigned char digest[SD_PACKED_DIGEST_BYTES]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(w->state));
    memcpy(digest, canonical.digest, SD_PACKED_DIGEST_BYTES);
}

static int by_place(const void *a, const void *b) {
    const sd_packed_array *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static sd_status digest_rest(walk *w, const sd_packed_header *header, unsigned char digest[SD_PACKED_DIGEST_BYTES]) {
    sd_packed_array sorted[SD_PACKED_PARTS];
    uint64_t end = SD_PACKED_HEADER_BYTES;
    memcpy(sorted, header->array, sizeof sorted);
    qsort(sorted, SD_PACKED_PARTS, sizeof sorted[0], by_place);
    XXH3_128bits_reset(w->state);
    for (int i = 0; i < SD_PACKED_PARTS; i++)
        if (sorted[i].bytes > 0) {
            SD_TRY(feed(w, end, sorted[i].at - end));
            end = sorted[i].at + sorted[i].bytes;
        }
    SD_TRY(feed(w, end, header->file_bytes - end));
    take_digest(w, digest);
    return SD_OK;
}

sd_status sd_packed_digest_rest(int fd, const char *path, const sd_packed_header *header,
                                unsigned char digest[SD_PACKED_DIGEST_BYTES]) {
    walk w;
    sd_status status = begin_walk(&w, fd, path, header);
    if (status == SD_OK)
        status = digest_rest(&w, header, digest);
    end_walk(&w);
    return status;
}

static sd_status altered(const char *path, const char *what) {
    return sd_fail(SD_ERR_DATA, "%s: %s is altered (another XXH3-128); copy or pack it again", path, what);
}

static sd_status verify_bytes(walk *w, const sd_packed_header *header) {
    unsigned char digest[SD_PACKED_DIGEST_BYTES];
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        const sd_packed_array *array = &header->array[i];
        if (array->bytes == 0)
            continue;
        XXH3_128bits_reset(w->state);
        SD_TRY(feed(w, array->at, array->bytes));
        take_digest(w, digest);
        if (memcmp(digest, array->digest, sizeof digest) != 0)
            return altered(w->path, sd_packed_path(header->kind, (sd_packed_part)i));
    }
    SD_TRY(digest_rest(w, header, digest));
    return memcmp(digest, header->rest, sizeof digest) == 0 ? SD_OK : altered(w->path, "the HDF5 structure");
}

static sd_status verify(int fd, const char *path, const sd_packed_header *header, const sd_pack_watch *watch) {
    sd_packed_tables tables = {0};
    walk w;
    sd_status status = sd_packed_tables_read(fd, path, header, &tables);
    sd_packed_tables_free(&tables);
    SD_TRY(status);
    status = begin_walk(&w, fd, path, header);
    w.watch = watch;
    if (status == SD_OK)
        status = verify_bytes(&w, header);
    end_walk(&w);
    return status;
}

sd_status sd_pack_verify(const char *path, const sd_pack_watch *watch, sd_pack_info *info) {
    sd_packed_header h;
    int fd;
    SD_TRY(sd_packed_open(path, &fd, &h));
    const sd_status status = verify(fd, path, &h, watch);
    close(fd);
    *info = (sd_pack_info){.encoded = h.kind == SD_PACKED_ENCODED,
                           .height = (int)h.height,
                           .width = (int)h.width,
                           .classes = (int)h.classes,
                           .images = {h.images[0], h.images[1]},
                           .bytes = h.file_bytes};
    return status;
}

bool sd_pack_is(const char *path) {
    unsigned char bytes[8];
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const bool is = fd >= 0 && pread(fd, bytes, sizeof bytes, 0) == sizeof bytes && sd_packed_is(bytes, sizeof bytes);
    if (fd >= 0)
        close(fd);
    return is;
}
