/* SPDX-License-Identifier: Apache-2.0 */
/* ViT's head: classifier(norm(first token)). */
#include "layer.h"
#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* timm's init_weights_vit_timm */

typedef struct token_head {
    sd_node node;
    sd_layernorm norm;
    sd_classifier classifier;
    float *tokens; /* [images, c], the first of each image */
} token_head;

static void forward(sd_node *node, const sd_context *context) {
    token_head *head = (token_head *)node;
    const size_t images = (size_t)context->pass->images;
    sd_first_tokens(context, node->in, node->x, head->tokens);
    const sd_map normalise = sd_layernorm_forward(&head->norm, context, images, head->tokens);
    context->k->map(images, node->in.c, head->tokens, &normalise, head->classifier.features);
    sd_classifier_forward(&head->classifier, context, node->y);
    node->output = node->y;
}

static void backward(sd_node *node, const sd_context *context, float *dlogits, float *dx, const sd_epilogue *epilogue) {
    token_head *head = (token_head *)node;
    const size_t images = (size_t)context->pass->images;
    float *dfeatures = context->work[0], *dtokens = context->work[1];
    sd_classifier_backward(&head->classifier, context, dlogits, dfeatures);
    sd_layernorm_backward(&head->norm, context, images, head->tokens, dfeatures, NULL, dtokens);
    if (dx) {
        sd_first_tokens_backward(context, node->in, dtokens, dx);
        context->k->apply_epilogue(sd_rows(context, node->in), node->in.c, dx, epilogue, context->scratch);
    }
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const token_head *head = (const token_head *)node;
    (void)plan;
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_FIRST_TOKEN, .out = {1, 1, node->in.c}}, value));
    SD_TRY(sd_layernorm_describe(&head->norm, graph, value));
    return sd_classifier_describe(&head->classifier, graph, value);
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_token_head(sd_network *network, double dropout, float epsilon) {
    token_head *head;
    SD_TRY(sd_network_add_node(network, &kind, sizeof *head, -1, &head));
    const int c = head->node.in.c;
    sd_network_want_work(network, (size_t)c);
    SD_TRY(sd_network_reserve(network, &head->tokens, (size_t)c));
    const int layer = network->open_layer;
    network->open_layer = layer - 1; /* as timm counts: the norm is the last block's */
    SD_TRY(sd_layernorm_init(network, &head->norm, "norm", 1, c, epsilon));
    network->open_layer = layer;
    SD_TRY(sd_classifier_init(network, &head->classifier, "head", c, dropout, INIT_DEVIATION));
    return sd_network_end_head(network, &head->node, 1);
}
