/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/weights.h"

#include <stdlib.h>
#include <string.h>

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
