/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: the header whole, then the data from front to back through a small buffer. */
#include "sdtrain/safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "digest.h"
#include "elements.h"
#include "safetensors_header.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"

enum { CHUNK_BYTES = 1 << 20 }; /* whole elements of every dtype that is converted */

/* A file that is being read, every byte of it hashed. */
typedef struct source {
    const char *path;
    int fd;
    size_t n_bytes;
    XXH3_state_t *hash;
    unsigned char *chunk; /* [CHUNK_BYTES] */
} source;

static sd_status read_bytes(source *from, void *bytes, size_t n) {
    SD_TRY(sd_file_read(from->fd, from->path, bytes, n));
    XXH3_128bits_update(from->hash, bytes, n);
    return SD_OK;
}

/* ---- memory ---- */

/* One block for all that sd_weights leads to:
 *     integers | values | weights | metadata | texts         */
typedef struct block {
    int64_t *integers;
    float *values;
    char *texts;
} block;

static size_t text_bytes(const sd_header *header) {
    size_t n = 0; /* cannot overflow: they stand in the header */
    for (int i = 0; i < header->n; i++)
        n += strlen(header->entry[i].weight.name) + 1;
    for (int i = 0; i < header->n_metadata; i++)
        n += strlen(header->metadata[i].key) + strlen(header->metadata[i].value) + 2;
    return n;
}

static sd_status take_memory(const sd_header *header, sd_weights *weights, block *b) {
    size_t integers = 0, values = 0; /* no more than the file has bytes */
    for (int i = 0; i < header->n; i++) {
        const sd_weight *weight = &header->entry[i].weight;
        integers += sd_dtype_is_integer(weight->dtype) ? weight->elems : 0;
        values += sd_dtype_is_float(weight->dtype) ? weight->elems : 0;
    }
    if (integers > SIZE_MAX / 32 || values > SIZE_MAX / 32)
        return sd_fail(SD_ERR_MEMORY, "out of memory: the tensors have %zu numbers", integers + values);
    values += values % 2; /* what follows is aligned to 8 bytes, as integers are */
    const size_t number_bytes = integers * sizeof *b->integers + values * sizeof *b->values;
    const size_t table_bytes =
        (size_t)header->n * sizeof *weights->weight + (size_t)header->n_metadata * sizeof *weights->metadata;
    SD_TRY(sd_alloc(&weights->memory, number_bytes + table_bytes + text_bytes(header), 1));
    b->integers = weights->memory;
    b->values = (float *)(b->integers + integers);
    weights->weight = (sd_weight *)(void *)(b->values + values);
    weights->metadata = (sd_weights_text *)(weights->weight + header->n);
    b->texts = (char *)(weights->metadata + header->n_metadata);
    return SD_OK;
}

static const char *copy_text(block *b, const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = memcpy(b->texts, text, bytes);
    b->texts += bytes;
    return copy;
}

/* ---- values ---- */

/* The next tensor's bytes, converted to the front of what is left of the block. */
static sd_status read_tensor(source *from, size_t n_bytes, sd_weight *weight, block *b) {
    const size_t elem_bytes = sd_dtype_bits(weight->dtype) / 8;
    const bool is_float = sd_dtype_is_float(weight->dtype), is_integer = sd_dtype_is_integer(weight->dtype);
    weight->values = is_float ? b->values : NULL;
    weight->integers = is_integer ? b->integers : NULL;
    while (n_bytes > 0) {
        const size_t n = n_bytes < CHUNK_BYTES ? n_bytes : CHUNK_BYTES;
        SD_TRY(read_bytes(from, from->chunk, n));
        n_bytes -= n;
        if (is_float) {
            sd_elements_to_floats(weight->dtype, from->chunk, n / elem_bytes, b->values);
            b->values += n / elem_bytes;
        } else if (is_integer) {
            sd_elements_to_integers(weight->dtype, from->chunk, n / elem_bytes, b->integers);
            b->integers += n / elem_bytes;
        }
    }
    return SD_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_weight *)a)->name, ((const sd_weight *)b)->name);
}

static sd_status fill(source *from, const sd_header *header, sd_weights *weights) {
    block b = {0};
    SD_TRY(take_memory(header, weights, &b));
    for (int i = 0; i < header->n; i++) {
        const sd_header_entry *entry = &header->entry[i];
        weights->weight[i] = entry->weight;
        weights->weight[i].name = copy_text(&b, entry->weight.name);
        SD_TRY(read_tensor(from, entry->end - entry->begin, &weights->weight[i], &b));
    }
    for (int i = 0; i < header->n_metadata; i++) {
        weights->metadata[i].key = copy_text(&b, header->metadata[i].key);
        weights->metadata[i].value = copy_text(&b, header->metadata[i].value);
    }
    weights->n = header->n;
    weights->n_metadata = header->n_metadata;
    if (weights->n > 1)
        qsort(weights->weight, (size_t)weights->n, sizeof *weights->weight, by_name);
    return SD_OK;
}

/* ---- the file ---- */

static sd_status read_length(source *from, size_t *header_bytes) {
    unsigned char head[SD_SAFETENSORS_LENGTH_BYTES];
    if (from->n_bytes < sizeof head)
        return sd_fail(SD_ERR_DATA, "%s: has %zu bytes, where a safetensors file begins with 8 that tell its header's",
                       from->path, from->n_bytes);
    SD_TRY(read_bytes(from, head, sizeof head));
    const uint64_t length = sd_elements_get_u64(head);
    if (length > SD_SAFETENSORS_HEADER_MOST_BYTES)
        return sd_fail(SD_ERR_DATA,
                       "%s: byte 0: a header of %llu bytes, where at most %d are allowed: this is not a safetensors "
                       "file, or a damaged one",
                       from->path, (unsigned long long)length, SD_SAFETENSORS_HEADER_MOST_BYTES);
    if (length > from->n_bytes - sizeof head)
        return sd_fail(SD_ERR_DATA, "%s: byte 0: a header of %llu bytes, in a file of %zu: it is cut", from->path,
                       (unsigned long long)length, from->n_bytes);
    *header_bytes = (size_t)length;
    return SD_OK;
}

static sd_status read_open(source *from, sd_weights *weights) {
    sd_header header = {0};
    char *text = NULL;
    size_t n = 0;
    sd_status status;
    SD_TRY_CLEANUP(read_length(from, &n));
    SD_TRY_CLEANUP(sd_alloc(&text, n, 1));
    SD_TRY_CLEANUP(read_bytes(from, text, n));
    SD_TRY_CLEANUP(sd_header_parse(from->path, text, n, from->n_bytes - SD_SAFETENSORS_LENGTH_BYTES - n, &header));
    SD_TRY_CLEANUP(sd_alloc(&from->chunk, CHUNK_BYTES, 1));
    SD_TRY_CLEANUP(fill(from, &header, weights));
    sd_digest_text(XXH3_128bits_digest(from->hash), weights->digest);
cleanup:
    free(from->chunk);
    free(text);
    sd_header_free(&header);
    return status;
}

sd_status sd_safetensors_read(const char *path, sd_weights *weights) {
    source from = {.path = path};
    memset(weights, 0, sizeof *weights);
    SD_TRY(sd_file_open(path, &from.fd, &from.n_bytes));
    from.hash = XXH3_createState();
    sd_status status = from.hash ? SD_OK : sd_fail(SD_ERR_MEMORY, "out of memory: for a hash's state");
    if (status == SD_OK) {
        XXH3_128bits_reset(from.hash);
        status = read_open(&from, weights);
    }
    XXH3_freeState(from.hash);
    close(from.fd);
    if (status != SD_OK)
        sd_weights_free(weights);
    return status;
}
