/* SPDX-License-Identifier: Apache-2.0 */
/* Forward and backward over the list of nodes. */
#include <string.h>

#include "network.h"

static const float STATISTICS_MOMENTUM = 0.1f; /* PyTorch's default */

static sd_context context_of(const sd_network *network, const sd_pass *pass, const sd_input *input) {
    sd_context context = {.pass = pass,
                          .input = input,
                          .k = network->kernels,
                          .values = network->values,
                          .gradients = pass->gradients ? pass->gradients : network->gradients,
                          .scratch = {.memory = network->scratch, .threads = network->threads},
                          .n_segments = network->n_segments};
    memcpy(context.work, network->work, sizeof context.work);
    context.gathered_lengths = network->gathered_lengths;
    memcpy(context.gathered, network->gathered, sizeof context.gathered);
    return context;
}

const float *sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input) {
    const sd_context context = context_of(network, pass, input);
    const float *x = NULL;
    for (int i = 0; i < network->n_nodes; i++) {
        sd_node *node = network->nodes[i];
        node->x = x;
        node->kind->forward(node, &context);
        x = node->output;
    }
    return x;
}

static bool is_identity(const sd_node *node, const sd_context *context) {
    return node->kind->is_identity && node->kind->is_identity(node, context);
}

/* The epilogue of node i's dx: the gradient epilogue of the nearest node below that is not an identity. Should that lie
 * below the last node of the pass, nothing reads what it sums. */
static sd_epilogue epilogue_below(const sd_network *network, const sd_context *context, int i) {
    while (--i >= 0) {
        const sd_node *node = network->nodes[i];
        if (!is_identity(node, context))
            return node->kind->gradient_epilogue ? node->kind->gradient_epilogue(node, context) : (sd_epilogue){0};
    }
    return (sd_epilogue){0};
}

void sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                         sd_segment_done done, void *done_context) {
    sd_context context = context_of(network, pass, input);
    context.done = done;
    context.done_context = done_context;
    float *dy = dlogits;
    const int last = network->last_node;
    int written = 0; /* number of dx written, to two buffers in turn */
    for (int i = network->n_nodes - 1; i >= last; i--) {
        sd_node *node = network->nodes[i];
        if (is_identity(node, &context)) {
            sd_segment_complete(&context, node->segment);
            continue;
        }
        const sd_epilogue epilogue = i > last ? epilogue_below(network, &context, i) : (sd_epilogue){0};
        float *dx = i > last ? network->gradient[written++ % 2] : NULL;
        node->kind->backward(node, &context, dy, dx, &epilogue);
        dy = dx;
    }
    for (int segment = network->nodes[last]->segment - 1; segment >= 0; segment--)
        sd_segment_complete(&context, segment);
}

bool sd_segment_is_kept(const sd_segment *segment, const sd_drop_plan *plan) {
    return segment->unit < 0 || plan->kept[segment->unit];
}

bool sd_segment_is_trained(const sd_segment *segment, const sd_drop_plan *plan) {
    return !segment->frozen && sd_segment_is_kept(segment, plan);
}

void sd_network_update_statistics(sd_network *network, const sd_drop_plan *plan) {
    for (int i = 0; i < network->n_tensors; i++) {
        const sd_tensor *tensor = network->tensors[i];
        if (tensor->kind != SD_TENSOR_STATISTIC || tensor->frozen ||
            !sd_segment_is_kept(&network->segments[tensor->segment], plan))
            continue;
        float *value = network->values + tensor->offset_elems;
        const float *gradient = network->gradients + tensor->offset_elems;
        for (size_t e = 0; e < tensor->elems; e++)
            value[e] += STATISTICS_MOMENTUM * gradient[e];
    }
    for (int i = 0; i < network->n_segments; i++)
        network->segments[i].kept_steps += sd_segment_is_trained(&network->segments[i], plan);
}
