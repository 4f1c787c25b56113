/* SPDX-License-Identifier: Apache-2.0 */
/* ResNet's head: classifier(mean over pixels). */
#include "layer.h"
#include "network.h"

typedef struct pool_head {
    sd_node node;
    sd_classifier classifier;
} pool_head;

static void forward(sd_node *node, const sd_context *context) {
    pool_head *head = (pool_head *)node;
    context->k->avgpool_forward(context->pass->images, node->in.h * node->in.w, node->in.c, node->x,
                                head->classifier.features);
    sd_classifier_forward(&head->classifier, context, node->y);
    node->output = node->y;
}

static void backward(sd_node *node, const sd_context *context, float *dlogits, float *dx, const sd_epilogue *epilogue) {
    pool_head *head = (pool_head *)node;
    float *dfeatures = context->work[0];
    sd_classifier_backward(&head->classifier, context, dlogits, dfeatures);
    if (dx) {
        context->k->avgpool_backward(context->pass->images, node->in.h * node->in.w, node->in.c, dfeatures, dx);
        context->k->apply_epilogue(sd_rows(context, node->in), node->in.c, dx, epilogue, context->scratch);
    }
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const pool_head *head = (const pool_head *)node;
    (void)plan;
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_MEAN, .out = {1, 1, node->in.c}}, value));
    return sd_classifier_describe(&head->classifier, graph, value);
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_pool_head(sd_network *network, double dropout) {
    pool_head *head;
    SD_TRY(sd_network_add_node(network, &kind, sizeof *head, -1, &head));
    sd_network_want_work(network, (size_t)head->node.in.c);
    SD_TRY(sd_classifier_init(network, &head->classifier, "fc", head->node.in.c, dropout, 0));
    return sd_network_end_head(network, &head->node, 1);
}
