/* SPDX-License-Identifier: Apache-2.0 */
/* Accessors of a network's tables and figures. */
#include "network.h"

int sd_network_n_tensors(const sd_network *network) { return network->n_tensors; }
const sd_tensor *sd_network_tensor(const sd_network *network, int i) { return network->tensors[i]; }
int sd_network_n_segments(const sd_network *network) { return network->n_segments; }
const sd_segment *sd_network_segment(const sd_network *network, int i) { return &network->segments[i]; }
int sd_network_n_units(const sd_network *network) { return network->n_units; }
const sd_unit *sd_network_unit(const sd_network *network, int i) { return &network->units[i]; }
int sd_network_blocks(const sd_network *network) { return network->blocks; }
int sd_network_classes(const sd_network *network) { return network->spec.classes; }
int sd_network_predictions(const sd_network *network) { return network->nodes[network->n_nodes - 1]->out.h; }
float *sd_network_values(sd_network *network) { return network->values; }
float *sd_network_gradients(sd_network *network) { return network->gradients; }
size_t sd_network_buffer_elems(const sd_network *network) { return network->buffer_elems; }
size_t sd_network_parameters(const sd_network *network) { return network->parameters; }
double sd_network_flops(const sd_network *network) { return network->flops; }
size_t sd_network_batchnorm_values(const sd_network *network) { return network->batchnorm_values; }

void sd_network_set_kept_steps(sd_network *network, int segment, int64_t kept_steps) {
    network->segments[segment].kept_steps = kept_steps;
}

size_t sd_network_activation_bytes(const sd_network *network) {
    return network->arena.bytes - 2 * network->buffer_elems * sizeof(float);
}
