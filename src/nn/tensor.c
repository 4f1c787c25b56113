/* SPDX-License-Identifier: Apache-2.0 */
/* Initial values, and conversion between our layouts and PyTorch's. */
#include <string.h>

#include "network.h"
#include "sdtrain/random.h"

/* The index in memory of element i in PyTorch's order. */
static size_t memory_index(const sd_tensor *tensor, size_t i) {
    if (tensor->layout == SD_LAYOUT_PLAIN)
        return i;
    const size_t in = (size_t)tensor->shape[1], taps = (size_t)tensor->shape[2] * (size_t)tensor->shape[3];
    const size_t out = (size_t)tensor->shape[0];
    size_t o = i / (in * taps), c = i / taps % in, tap = i % taps;
    return (tap * in + c) * out + o;
}

void sd_tensor_export(const sd_tensor *tensor, const float *memory, float *array) {
    for (size_t i = 0; i < tensor->elems; i++)
        array[i] = memory[memory_index(tensor, i)];
}

void sd_tensor_import(const sd_tensor *tensor, const float *array, float *memory) {
    for (size_t i = 0; i < tensor->elems; i++)
        memory[memory_index(tensor, i)] = array[i];
}

static float initial_value(const sd_tensor *tensor, uint32_t seed, size_t i, int place) {
    if (tensor->init_deviation == 0 && tensor->init_bound == 0)
        return tensor->init_mean;
    sd_random random = sd_random_at(seed, SD_STREAM_INIT, i, (uint64_t)place);
    if (tensor->init_deviation > 0)
        return (float)(tensor->init_mean + tensor->init_deviation * sd_random_normal(random));
    return (float)(tensor->init_mean + tensor->init_bound * (2 * sd_random_uniform(random.word[0]) - 1));
}

void sd_network_initialise(sd_network *network, uint32_t seed) {
    memset(network->values, 0, network->buffer_elems * sizeof(float));
    for (int place = 0; place < network->n_tensors; place++) {
        const sd_tensor *tensor = network->tensors[place];
        for (size_t i = 0; i < tensor->elems; i++)
            network->values[tensor->offset_elems + memory_index(tensor, i)] = initial_value(tensor, seed, i, place);
    }
}
