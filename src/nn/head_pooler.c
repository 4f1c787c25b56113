/* SPDX-License-Identifier: Apache-2.0 */
/* BERT's head: classifier(tanh(dense(first token))). */
#include <string.h>

#include "layer.h"
#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* Hugging Face's initializer_range */

typedef struct pooler_head {
    sd_node node;
    sd_linear dense;
    sd_classifier classifier;
    float *tokens; /* [images, c], the first of each text */
    float *pooled; /* [images, c], tanh(dense(token)) */
} pooler_head;

static void forward(sd_node *node, const sd_context *context) {
    pooler_head *head = (pooler_head *)node;
    const size_t images = (size_t)context->pass->images;
    const sd_map tanh = {.kind = SD_MAP_TANH};
    sd_first_tokens(context, node->in, node->x, head->tokens);
    sd_linear_forward(&head->dense, context, images, head->tokens, NULL, head->pooled, &tanh);
    memcpy(head->classifier.features, head->pooled, images * (size_t)node->in.c * sizeof(float));
    sd_classifier_forward(&head->classifier, context, node->y);
    node->output = node->y;
}

static void backward(sd_node *node, const sd_context *context, float *dlogits, float *dx, const sd_epilogue *epilogue) {
    pooler_head *head = (pooler_head *)node;
    const size_t images = (size_t)context->pass->images;
    const sd_map tanh_backward = {.kind = SD_MAP_TANH_BACKWARD, .other = head->pooled};
    float *dfeatures = context->work[0], *dtokens = context->work[1];
    sd_classifier_backward(&head->classifier, context, dlogits, dfeatures);
    sd_linear_backward(&head->dense, context, images, head->tokens, NULL, dfeatures, &tanh_backward, dtokens, NULL);
    if (dx) {
        sd_first_tokens_backward(context, node->in, dtokens, dx);
        context->k->apply_epilogue(sd_rows(context, node->in), node->in.c, dx, epilogue, context->scratch);
    }
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const pooler_head *head = (const pooler_head *)node;
    (void)plan;
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_FIRST_TOKEN, .out = {1, 1, node->in.c}}, value));
    SD_TRY(sd_linear_describe(&head->dense, graph, value));
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_TANH}, value));
    return sd_classifier_describe(&head->classifier, graph, value);
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_pooler_head(sd_network *network, const char *dense, const char *classifier, double dropout) {
    pooler_head *head;
    SD_TRY(sd_network_add_node(network, &kind, sizeof *head, -1, &head));
    const int c = head->node.in.c;
    sd_network_want_work(network, (size_t)c);
    SD_TRY(sd_network_reserve(network, &head->tokens, (size_t)c));
    SD_TRY(sd_network_reserve(network, &head->pooled, (size_t)c));
    SD_TRY(sd_linear_init(network, &head->dense, dense, c, c, INIT_DEVIATION));
    head->dense.weight->fit = head->dense.bias->fit = SD_FIT_HEAD;
    network->flops += 2.0 * c * c;
    SD_TRY(sd_classifier_init(network, &head->classifier, classifier, c, dropout, INIT_DEVIATION));
    return sd_network_end_head(network, &head->node, 1);
}
