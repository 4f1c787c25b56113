/* SPDX-License-Identifier: Apache-2.0 */
#include "pack_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hdf5_packed.h"
#include "sdtrain/file.h"

enum { ZEROS = 4096, STRUCTURE_BYTES = 1 << 18 };

static sd_status failed(const sd_pack_file *file) {
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", file->part, strerror(errno));
}

static sd_status write_at(const sd_pack_file *file, const void *bytes, size_t n_bytes, uint64_t at) {
    const unsigned char *from = bytes;
    while (n_bytes > 0) {
        const ssize_t written = pwrite(file->fd, from, n_bytes, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return failed(file);
        from += written;
        at += (uint64_t)written;
        n_bytes -= (size_t)written;
    }
    return SD_OK;
}

/* Takes the room now, for all arrays: a disk that is too small is found before hours of work, and HDF5 does not meet a
 * full one, after which it can do nothing more. Some file systems cannot. */
static sd_status reserve(const sd_pack_file *file) {
    const sd_packed_header *h = &file->header;
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return failed(file);
    const uint64_t images = (uint64_t)h->images[0] + h->images[1],
                   more = STRUCTURE_BYTES + images * (sizeof(int32_t) + sizeof(uint64_t));
    const uint64_t all = (uint64_t)info.st_size + more;
    while (fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)all) != 0)
        if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
            return sd_fail(SD_ERR_IO, "%s: cannot be written: %llu bytes are needed: %s", file->part,
                           (unsigned long long)all, strerror(errno));
        else if (errno != EINTR)
            break;
    return SD_OK;
}

static sd_status check_place(const char *out) {
    struct stat info;
    if (lstat(out, &info) == 0 && !S_ISREG(info.st_mode))
        return sd_fail(SD_ERR_IO, "%s: cannot be written: it is there and no regular file", out);
    return SD_OK;
}

sd_status sd_pack_file_create(const char *out, const sd_packed_header *header, sd_pack_file *file) {
    *file = (sd_pack_file){.out = out, .fd = -1, .header = *header};
    if (strlen(out) + sizeof ".part" > sizeof file->part)
        return sd_fail(SD_ERR_IO, "%s: the name is too long", out);
    snprintf(file->part, sizeof file->part, "%s.part", out);
    SD_TRY(check_place(out));
    sd_file_discard_part(out);
    /* Not HDF5's message, which has no reason: can a file be made here? */
    file->fd = open(file->part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be created: %s", file->part, strerror(errno));
    close(file->fd);
    unlink(file->part);
    sd_status status = sd_hdf5_packed_create(file->part, &file->header);
    file->fd = open(file->part, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (status == SD_OK && file->fd < 0)
        status = failed(file);
    SD_TRY(status);
    file->digest = XXH3_createState();
    if (!file->digest)
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory", file->part);
    return reserve(file);
}

void sd_pack_file_begin(sd_pack_file *file, bool test) {
    file->now = sd_packed_part_of(SD_PACKED_IMAGES, test);
    file->written = 0;
    XXH3_128bits_reset(file->digest);
}

sd_status sd_pack_file_append(sd_pack_file *file, const void *bytes, size_t n_bytes) {
    const sd_packed_array *array = &file->header.array[file->now];
    if (n_bytes > array->bytes - file->written)
        return sd_fail(SD_ERR_INTERNAL, "%s: more images than there is room for", file->part);
    SD_TRY(write_at(file, bytes, n_bytes, array->at + file->written));
    XXH3_128bits_update(file->digest, bytes, n_bytes);
    file->written += n_bytes;
    return SD_OK;
}

/* What bad images leave of the room stays zero. */
sd_status sd_pack_file_end(sd_pack_file *file) {
    static const unsigned char zeros[ZEROS];
    sd_packed_array *array = &file->header.array[file->now];
    XXH128_canonical_t digest;
    for (uint64_t left = array->bytes - file->written; left > 0;) {
        const size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        XXH3_128bits_update(file->digest, zeros, n);
        left -= n;
    }
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(file->digest));
    memcpy(array->digest, digest.digest, sizeof array->digest);
    return SD_OK;
}

static sd_status seal(sd_pack_file *file) {
    unsigned char bytes[SD_PACKED_HEADER_BYTES];
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return failed(file);
    file->header.file_bytes = (uint64_t)info.st_size;
    SD_TRY(sd_packed_digest_rest(file->fd, file->part, &file->header, file->header.rest));
    sd_packed_header_write(&file->header, bytes);
    SD_TRY(write_at(file, bytes, sizeof bytes, 0));
    return sd_file_sync(file->fd, file->part);
}

/* Another process that packs into the same name has removed ours. */
static bool is_ours(const sd_pack_file *file) {
    struct stat open_file, named;
    return fstat(file->fd, &open_file) == 0 && lstat(file->part, &named) == 0 && open_file.st_ino == named.st_ino &&
           open_file.st_dev == named.st_dev;
}

sd_status sd_pack_file_finish(sd_pack_file *file, const sd_packed_tables *tables, const sd_pack_watch *watch) {
    sd_pack_info info;
    SD_TRY(sd_hdf5_packed_finish(file->part, &file->header, tables));
    SD_TRY(seal(file));
    SD_TRY(sd_hdf5_packed_compare(file->part, &file->header));
    SD_TRY(sd_pack_verify(file->part, watch, &info));
    if (!is_ours(file))
        return sd_fail(SD_ERR_IO, "%s: another process packs into it", file->part);
    return sd_file_rename(file->part, file->out);
}

void sd_pack_file_discard(sd_pack_file *file) {
    if (file->fd >= 0) {
        if (is_ours(file))
            unlink(file->part);
        close(file->fd);
    }
    XXH3_freeState(file->digest);
    file->fd = -1;
    file->digest = NULL;
}
