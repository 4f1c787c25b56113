/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen tensors, and what follows from them for batch norms, segments and the backward pass. */
#include "network.h"

static void freeze_statistics(sd_network *network) {
    for (int i = 0; i < network->n_norms; i++) {
        sd_conv_bn *layer = network->norms[i];
        layer->running_mean->frozen = layer->running_variance->frozen = layer->gamma->frozen && layer->beta->frozen;
    }
}

static void freeze_segments(sd_network *network) {
    for (int i = 0; i < network->n_segments; i++)
        network->segments[i].frozen = true;
    for (int i = 0; i < network->n_tensors; i++)
        if (!network->tensors[i]->frozen)
            network->segments[network->tensors[i]->segment].frozen = false;
}

/* A node's segments are numbered from the one that it opened first; node->segment counts from the stem, the table from
 * the head. */
static int lowest_trained_node(const sd_network *network) {
    int s = 0;
    while (s < network->n_segments - 1 && network->segments[network->n_segments - 1 - s].frozen)
        s++;
    int node = network->n_nodes - 1;
    while (network->nodes[node]->segment > s)
        node--;
    return node;
}

void sd_network_freeze(sd_network *network, const bool *frozen) {
    for (int i = 0; i < network->n_tensors; i++)
        network->tensors[i]->frozen = network->tensors[i]->kind == SD_TENSOR_PARAMETER && frozen[i];
    freeze_statistics(network);
    freeze_segments(network);
    network->last_node = lowest_trained_node(network);
}

size_t sd_network_trained(const sd_network *network) {
    size_t elems = network->parameters;
    for (int i = 0; i < network->n_tensors; i++)
        if (network->tensors[i]->kind == SD_TENSOR_PARAMETER && network->tensors[i]->frozen)
            elems -= network->tensors[i]->elems;
    return elems;
}
