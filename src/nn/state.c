/* SPDX-License-Identifier: Apache-2.0 */
/* A network's values as PyTorch's state_dict, and branches that are scaled in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"
#include "sdtrain/arena.h"

const char *sd_tensor_counter(const sd_tensor *tensor, char name[SD_COUNTER_BYTES]) {
    const char *const dot = strrchr(tensor->name, '.');
    snprintf(name, SD_COUNTER_BYTES, "%.*snum_batches_tracked", dot ? (int)(dot + 1 - tensor->name) : 0, tensor->name);
    return name;
}

void sd_network_scale_branches(sd_network *network, const float *factor) {
    for (int i = 0; i < network->n_tensors; i++) {
        const sd_tensor *tensor = network->tensors[i];
        const int unit = network->segments[tensor->segment].unit;
        float *value = network->values + tensor->offset_elems;
        for (size_t e = 0; tensor->ends_branch && unit >= 0 && e < tensor->elems; e++)
            value[e] *= factor[unit];
    }
}

/* ---- state_dict ---- */

/* One block for all that sd_weights leads to:
 *     counters | weights | values | names         */
typedef struct block {
    int64_t *counters;
    float *values;
    char (*names)[SD_COUNTER_BYTES];
} block;

static sd_status take_memory(const sd_network *network, sd_weights *weights, block *b) {
    size_t values = 0, counters = 0;
    for (int i = 0; i < network->n_tensors; i++) {
        values += network->tensors[i]->elems;
        counters += network->tensors[i]->counted;
    }
    const size_t n = (size_t)network->n_tensors + counters;
    SD_TRY(sd_alloc(&weights->memory,
                    counters * sizeof *b->counters + n * sizeof *weights->weight + values * sizeof *b->values +
                        n * sizeof *b->names,
                    1));
    b->counters = weights->memory;
    weights->weight = (sd_weight *)(void *)(b->counters + counters);
    b->values = (float *)(weights->weight + n);
    b->names = (char(*)[SD_COUNTER_BYTES])(b->values + values);
    return SD_OK;
}

static void put_tensor(const sd_network *network, const sd_tensor *tensor, sd_weights *weights, block *b) {
    sd_weight *weight = &weights->weight[weights->n++];
    *weight = (sd_weight){.name = memcpy(b->names++, tensor->name, sizeof tensor->name),
                          .dtype = SD_DTYPE_F32,
                          .dims = tensor->dims,
                          .elems = tensor->elems,
                          .values = b->values};
    for (int d = 0; d < tensor->dims; d++)
        weight->shape[d] = (size_t)tensor->shape[d];
    sd_tensor_export(tensor, network->values + tensor->offset_elems, b->values);
    b->values += tensor->elems;
}

static void put_counter(const sd_network *network, const sd_tensor *tensor, sd_weights *weights, block *b) {
    *b->counters = network->segments[tensor->segment].kept_steps;
    weights->weight[weights->n++] = (sd_weight){
        .name = sd_tensor_counter(tensor, *b->names++), .dtype = SD_DTYPE_I64, .elems = 1, .integers = b->counters++};
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_weight *)a)->name, ((const sd_weight *)b)->name);
}

sd_status sd_network_state(sd_network *network, sd_weights *weights) {
    block b = {0};
    *weights = (sd_weights){0};
    SD_TRY(take_memory(network, weights, &b));
    for (int i = 0; i < network->n_tensors; i++) {
        put_tensor(network, network->tensors[i], weights, &b);
        if (network->tensors[i]->counted)
            put_counter(network, network->tensors[i], weights, &b);
    }
    qsort(weights->weight, (size_t)weights->n, sizeof *weights->weight, by_name);
    return SD_OK;
}
