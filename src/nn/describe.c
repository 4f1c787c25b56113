/* SPDX-License-Identifier: Apache-2.0 */
#include "describe.h"

#include <stdlib.h>
#include <string.h>

#include "network.h"

sd_shape sd_graph_shape(const sd_graph *graph, int i) { return i == 0 ? graph->in : graph->op[i - 1].out; }

sd_status sd_graph_add(sd_graph *graph, sd_op op, int *value) {
    SD_TRY(sd_grow(&graph->op, graph->n, &graph->capacity, sizeof *graph->op));
    op.x = *value;
    if (op.out.c == 0)
        op.out = sd_graph_shape(graph, op.x);
    graph->op[graph->n++] = op;
    *value = graph->n;
    return SD_OK;
}

sd_status sd_network_describe(const sd_network *network, const sd_drop_plan *plan, sd_graph *graph) {
    int value = 0;
    *graph = (sd_graph){.in = network->nodes[0]->in};
    for (int i = 0; i < network->n_nodes; i++)
        SD_TRY(network->nodes[i]->kind->describe(network->nodes[i], plan, graph, &value));
    return SD_OK;
}

void sd_graph_free(sd_graph *graph) {
    free(graph->op);
    memset(graph, 0, sizeof *graph);
}
