/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/weights.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
#define DTYPE_ROW(name, bits) {#name, bits},
    SD_DTYPE_LIST(DTYPE_ROW)
#undef DTYPE_ROW
};

const char *sd_dtype_name(sd_dtype dtype) { return dtypes[dtype].name; }

unsigned sd_dtype_bits(sd_dtype dtype) { return dtypes[dtype].bits; }

static int compare_name(const void *name, const void *weight) {
    return strcmp(name, ((const sd_weight *)weight)->name);
}

const sd_weight *sd_weights_find(const sd_weights *weights, const char *name) {
    if (weights->n == 0)
        return NULL;
    return bsearch(name, weights->weight, (size_t)weights->n, sizeof *weights->weight, compare_name);
}

static int compare_key(const void *key, const void *text) { return strcmp(key, ((const sd_weights_text *)text)->key); }

const char *sd_weights_metadata(const sd_weights *weights, const char *key) {
    if (weights->n_metadata == 0)
        return NULL;
    const sd_weights_text *text =
        bsearch(key, weights->metadata, (size_t)weights->n_metadata, sizeof *weights->metadata, compare_key);
    return text ? text->value : NULL;
}

void sd_weights_free(sd_weights *weights) {
    free(weights->memory);
    memset(weights, 0, sizeof *weights);
}

/* ---- filling in ---- */

size_t sd_weights_number_bytes(size_t elems, size_t elem_bytes) { return (elems * elem_bytes + 7) / 8 * 8; }

sd_status sd_weights_take(sd_weights *weights, sd_weights_block *block) {
    *weights = (sd_weights){0};
    SD_TRY(sd_alloc(&weights->memory,
                    block->number_bytes + block->n * sizeof *weights->weight +
                        block->n_metadata * sizeof *weights->metadata + block->text_bytes,
                    1));
    block->numbers = weights->memory;
    weights->weight = (sd_weight *)(void *)(block->numbers + block->number_bytes);
    weights->metadata = (sd_weights_text *)(weights->weight + block->n);
    block->texts = (char *)(weights->metadata + block->n_metadata);
    return SD_OK;
}

void *sd_weights_take_numbers(sd_weights_block *block, size_t number_bytes) {
    void *numbers = block->numbers;
    block->numbers += number_bytes;
    return numbers;
}

const char *sd_weights_take_text(sd_weights_block *block, const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = memcpy(block->texts, text, bytes);
    block->texts += bytes;
    return copy;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_weight *)a)->name, ((const sd_weight *)b)->name);
}

void sd_weights_sort(sd_weights *weights) {
    if (weights->n > 1)
        qsort(weights->weight, (size_t)weights->n, sizeof *weights->weight, by_name);
}
