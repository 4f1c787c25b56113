/* SPDX-License-Identifier: Apache-2.0 */
#include "seal.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "digest.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"

enum { MAGIC_BYTES = SD_SEAL_MAGIC_BYTES, VERSION_AT = 8, LENGTH_AT = 16, DIGEST_AT = 24, VERSION = 1 };
static const char MAGIC[MAGIC_BYTES] = {'S', 'D', 'T', 'R', 'A', 'I', 'N', '\n'};

bool sd_seal_begins(const unsigned char *bytes) { return !memcmp(bytes, MAGIC, MAGIC_BYTES); }

static void put(unsigned char *to, uint64_t number) {
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t get(const unsigned char *from) {
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number |= (uint64_t)from[i] << (8 * i);
    return number;
}

void sd_seal_make(unsigned char *file, size_t bytes) {
    XXH128_canonical_t digest;
    memset(file, 0, SD_SEAL_BYTES);
    memcpy(file, MAGIC, MAGIC_BYTES);
    put(file + VERSION_AT, VERSION);
    put(file + LENGTH_AT, bytes);
    XXH128_canonicalFromHash(&digest, XXH3_128bits(file, bytes));
    memcpy(file + DIGEST_AT, digest.digest, sizeof digest.digest);
}

static const char *in_hexadecimal(const XXH128_canonical_t *digest, char text[SD_DIGEST_BYTES]) {
    return sd_digest_text(XXH128_hashFromCanonical(digest), text);
}

/* Checks the seal but for the digest. file: the first SD_SEAL_BYTES, or all if there are fewer; bytes: of the whole
 * file. */
static sd_status check_head(const char *path, const unsigned char *file, size_t bytes) {
    if (bytes == 0)
        return sd_fail(SD_ERR_DATA, "%s: is empty", path);
    if (bytes < MAGIC_BYTES || !sd_seal_begins(file))
        return sd_fail(SD_ERR_DATA, "%s: is not a checkpoint of sdtrain-mpi (its first bytes are others)", path);
    if (bytes < SD_SEAL_BYTES)
        return sd_fail(SD_ERR_DATA, "%s: is cut: of its first %d bytes, %zu are left", path, SD_SEAL_BYTES, bytes);
    if (get(file + VERSION_AT) != VERSION)
        return sd_fail(SD_ERR_DATA, "%s: was written by another version (seal version %llu, this version reads %d)",
                       path, (unsigned long long)get(file + VERSION_AT), VERSION);
    if (get(file + LENGTH_AT) != bytes)
        return sd_fail(SD_ERR_DATA, "%s: %s: it has %zu bytes, and was written with %llu", path,
                       bytes < get(file + LENGTH_AT) ? "is cut" : "has grown", bytes,
                       (unsigned long long)get(file + LENGTH_AT));
    return SD_OK;
}

sd_status sd_seal_check(const char *path, unsigned char *file, size_t bytes) {
    SD_TRY(check_head(path, file, bytes));
    XXH128_canonical_t stored, digest;
    char text[2][SD_DIGEST_BYTES];
    memcpy(stored.digest, file + DIGEST_AT, sizeof stored.digest);
    memset(file + DIGEST_AT, 0, sizeof stored.digest);
    XXH128_canonicalFromHash(&digest, XXH3_128bits(file, bytes));
    memcpy(file + DIGEST_AT, stored.digest, sizeof stored.digest);
    if (memcmp(stored.digest, digest.digest, sizeof digest.digest) != 0)
        return sd_fail(SD_ERR_DATA, "%s: is altered: the XXH3-128 of its %zu bytes is %s, and it was sealed with %s",
                       path, bytes, in_hexadecimal(&digest, text[0]), in_hexadecimal(&stored, text[1]));
    return SD_OK;
}

static sd_status read_open(int fd, const char *path, unsigned char **file, size_t bytes) {
    unsigned char head[SD_SEAL_BYTES];
    const size_t head_bytes = bytes < sizeof head ? bytes : sizeof head;
    SD_TRY(sd_file_read(fd, path, head, head_bytes));
    SD_TRY(check_head(path, head, bytes));
    SD_TRY(sd_alloc(file, bytes, 1));
    memcpy(*file, head, head_bytes);
    SD_TRY(sd_file_read(fd, path, *file + head_bytes, bytes - head_bytes));
    return sd_seal_check(path, *file, bytes);
}

sd_status sd_seal_read(const char *path, unsigned char **file, size_t *bytes) {
    int fd;
    *file = NULL;
    SD_TRY(sd_file_open(path, &fd, bytes));
    const sd_status status = read_open(fd, path, file, *bytes);
    close(fd);
    if (status == SD_OK)
        return SD_OK;
    free(*file);
    *file = NULL;
    return status;
}
