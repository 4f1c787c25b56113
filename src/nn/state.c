/* SPDX-License-Identifier: Apache-2.0 */
/* A network's values as PyTorch's state_dict, and branches that are scaled in them. */
#include <stdio.h>
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

static sd_status take_memory(const sd_network *network, sd_weights *weights, sd_weights_block *block) {
    char name[SD_COUNTER_BYTES];
    for (int i = 0; i < network->n_tensors; i++) {
        const sd_tensor *tensor = network->tensors[i];
        block->n += tensor->counted ? 2 : 1;
        block->number_bytes += sd_weights_number_bytes(tensor->elems, sizeof(float));
        block->text_bytes += strlen(tensor->name) + 1;
        if (tensor->counted) {
            block->number_bytes += sizeof(int64_t);
            block->text_bytes += strlen(sd_tensor_counter(tensor, name)) + 1;
        }
    }
    return sd_weights_take(weights, block);
}

static void put_tensor(const sd_network *network, const sd_tensor *tensor, sd_weights *weights,
                       sd_weights_block *block) {
    float *values = sd_weights_take_numbers(block, sd_weights_number_bytes(tensor->elems, sizeof *values));
    sd_weight *weight = &weights->weight[weights->n++];
    *weight = (sd_weight){.name = sd_weights_take_text(block, tensor->name),
                          .dtype = SD_DTYPE_F32,
                          .dims = tensor->dims,
                          .elems = tensor->elems,
                          .values = values};
    for (int d = 0; d < tensor->dims; d++)
        weight->shape[d] = (size_t)tensor->shape[d];
    sd_tensor_export(tensor, network->values + tensor->offset_elems, values);
}

static void put_counter(const sd_network *network, const sd_tensor *tensor, sd_weights *weights,
                        sd_weights_block *block) {
    char name[SD_COUNTER_BYTES];
    int64_t *counter = sd_weights_take_numbers(block, sizeof *counter);
    *counter = network->segments[tensor->segment].kept_steps;
    weights->weight[weights->n++] = (sd_weight){.name = sd_weights_take_text(block, sd_tensor_counter(tensor, name)),
                                                .dtype = SD_DTYPE_I64,
                                                .elems = 1,
                                                .integers = counter};
}

sd_status sd_network_state(sd_network *network, sd_weights *weights) {
    sd_weights_block block = {0};
    SD_TRY(take_memory(network, weights, &block));
    for (int i = 0; i < network->n_tensors; i++) {
        put_tensor(network, network->tensors[i], weights, &block);
        if (network->tensors[i]->counted)
            put_counter(network, network->tensors[i], weights, &block);
    }
    sd_weights_sort(weights);
    return SD_OK;
}
