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

/* ---- tensors ---- */

static size_t number_bytes(const sd_weight *weight) {
    return sd_dtype_is_float(weight->dtype)     ? sd_weights_number_bytes(weight->elems, sizeof *weight->values)
           : sd_dtype_is_integer(weight->dtype) ? sd_weights_number_bytes(weight->elems, sizeof *weight->integers)
                                                : 0;
}

static sd_status take_memory(const source *from, const sd_header *header, sd_weights *weights,
                             sd_weights_block *block) {
    *block = (sd_weights_block){.n = (size_t)header->n, .n_metadata = (size_t)header->n_metadata};
    if (from->n_bytes > SIZE_MAX / 32) /* no more elements than bytes, each of 8 bytes at most */
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory: it has %zu bytes", from->path, from->n_bytes);
    for (int i = 0; i < header->n; i++) {
        block->number_bytes += number_bytes(&header->entry[i].weight);
        block->text_bytes += strlen(header->entry[i].weight.name) + 1;
    }
    for (int i = 0; i < header->n_metadata; i++)
        block->text_bytes += strlen(header->metadata[i].key) + strlen(header->metadata[i].value) + 2;
    return sd_weights_take(weights, block);
}

/* The next tensor's bytes, converted to the next numbers of the block. */
static sd_status read_tensor(source *from, size_t n_bytes, sd_weight *weight, sd_weights_block *block) {
    const size_t elem_bytes = sd_dtype_bits(weight->dtype) / 8;
    void *numbers = sd_weights_take_numbers(block, number_bytes(weight));
    float *value = sd_dtype_is_float(weight->dtype) ? numbers : NULL;
    int64_t *integer = sd_dtype_is_integer(weight->dtype) ? numbers : NULL;
    weight->values = value;
    weight->integers = integer;
    while (n_bytes > 0) {
        const size_t n = n_bytes < CHUNK_BYTES ? n_bytes : CHUNK_BYTES;
        SD_TRY(read_bytes(from, from->chunk, n));
        n_bytes -= n;
        if (value) {
            sd_elements_to_floats(weight->dtype, from->chunk, n / elem_bytes, value);
            value += n / elem_bytes;
        } else if (integer) {
            sd_elements_to_integers(weight->dtype, from->chunk, n / elem_bytes, integer);
            integer += n / elem_bytes;
        }
    }
    return SD_OK;
}

static sd_status fill(source *from, const sd_header *header, sd_weights *weights) {
    sd_weights_block block;
    SD_TRY(take_memory(from, header, weights, &block));
    for (; weights->n < header->n; weights->n++) {
        const sd_header_entry *entry = &header->entry[weights->n];
        sd_weight *weight = &weights->weight[weights->n];
        *weight = entry->weight;
        weight->name = sd_weights_take_text(&block, entry->weight.name);
        SD_TRY(read_tensor(from, entry->end - entry->begin, weight, &block));
    }
    for (; weights->n_metadata < header->n_metadata; weights->n_metadata++) {
        const sd_weights_text *text = &header->metadata[weights->n_metadata];
        weights->metadata[weights->n_metadata] = (sd_weights_text){.key = sd_weights_take_text(&block, text->key),
                                                                   .value = sd_weights_take_text(&block, text->value)};
    }
    sd_weights_sort(weights);
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
