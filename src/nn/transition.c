/* SPDX-License-Identifier: Apache-2.0 */
/* y = act(F(x)): a branch that is always computed, without a shortcut. Changes the shape between stages. */
#include "branch.h"
#include "network.h"

typedef struct transition {
    sd_node node;
    sd_branch *branch;
    bool relu;
} transition;

static void forward(sd_node *node, const sd_context *context) {
    transition *t = (transition *)node;
    t->branch->kind->forward(t->branch, context, node->x, NULL, 1, t->relu, node->y);
    node->output = node->y;
}

static sd_epilogue gradient_epilogue(const sd_node *node, const sd_context *context) {
    const transition *t = (const transition *)node;
    sd_epilogue epilogue = sd_branch_gradient_epilogue(t->branch);
    (void)context;
    if (t->relu)
        epilogue.mask = sd_plain(node->y);
    return epilogue;
}

static void backward(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue) {
    transition *t = (transition *)node;
    t->branch->kind->backward(t->branch, context, node->x, dy, 1, NULL, dx, epilogue);
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const transition *t = (const transition *)node;
    (void)plan;
    SD_TRY(t->branch->kind->describe(t->branch, graph, value));
    return t->relu ? sd_graph_add(graph, (sd_op){.kind = SD_OP_RELU}, value) : SD_OK;
}

static const sd_node_kind kind = {
    .forward = forward, .gradient_epilogue = gradient_epilogue, .backward = backward, .describe = describe};

sd_status sd_build_transition_begin(sd_network *network, const char *name, bool relu) {
    transition *t;
    SD_TRY(sd_network_add_node(network, &kind, sizeof *t, -1, &t));
    t->relu = relu;
    return sd_network_open_branch(network, name, relu);
}

sd_status sd_build_transition_end(sd_network *network) {
    transition *t = (transition *)sd_network_last_node(network, &kind);
    if (!t)
        return sd_fail(SD_ERR_INTERNAL, "sd_build_transition_end: no transition is open");
    SD_TRY(sd_network_close_branch(network, &t->branch));
    network->flops += t->branch->flops;
    return sd_network_end_node(network, &t->node, t->branch->out);
}
