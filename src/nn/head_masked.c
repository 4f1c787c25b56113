/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a masked language model, as Hugging Face's BertForMaskedLM: of each masked token
 *     logits = norm(gelu(dense(token))) words^T + bias
 * where words is the stem's table of embeddings (Press & Wolf 2017): backward writes its gradient here, and the stem
 * adds that of its rows. */
#include <string.h>

#include "layer.h"
#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* Hugging Face's initializer_range */

typedef struct masked_head {
    sd_node node;
    sd_linear dense;
    sd_layernorm norm;
    sd_linear decoder; /* weight: the stem's words */
    float *tokens;     /* [masked, c], those of the input */
    float *product;    /* [masked, c], dense(tokens) */
    float *hidden;     /* [masked, c], gelu(product) */
} masked_head;

static size_t masked_of(const sd_context *context) {
    return (size_t)sd_input_predictions(context->input, context->pass->images);
}

static void forward(sd_node *node, const sd_context *context) {
    masked_head *head = (masked_head *)node;
    const size_t masked = masked_of(context), c = (size_t)node->in.c;
    const sd_map gelu = {.kind = SD_MAP_GELU};
    node->output = node->y;
    if (masked == 0)
        return;
    for (size_t i = 0; i < masked; i++)
        memcpy(head->tokens + i * c, node->x + (size_t)context->input->masked[i] * c, c * sizeof(float));
    sd_linear_forward(&head->dense, context, masked, head->tokens, NULL, head->product, NULL);
    context->k->map(masked, node->in.c, head->product, &gelu, head->hidden);
    const sd_map normalise = sd_layernorm_forward(&head->norm, context, masked, head->hidden);
    sd_linear_forward(&head->decoder, context, masked, head->hidden, &normalise, node->y, NULL);
}

static void clear_gradient(const sd_context *context, const sd_tensor *tensor) {
    memset(sd_gradient(context, tensor), 0, tensor->elems * sizeof(float));
}

/* Of a pass without masked tokens. */
static void clear_gradients(const masked_head *head, const sd_context *context) {
    const sd_tensor *const tensors[] = {head->decoder.weight, head->decoder.bias, head->dense.weight,
                                        head->dense.bias,     head->norm.gamma,   head->norm.beta};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        clear_gradient(context, tensors[i]);
}

/* dtokens: [masked, c], out. */
static void tokens_backward(masked_head *head, const sd_context *context, size_t masked, const float *dlogits,
                            float *dtokens) {
    const sd_map normalise = sd_layernorm_map(&head->norm, context),
                 gelu_backward = {.kind = SD_MAP_GELU_BACKWARD, .other = head->product};
    float *dnormalised = context->work[0], *dhidden = context->work[1];
    sd_linear_backward(&head->decoder, context, masked, head->hidden, &normalise, dlogits, NULL, dnormalised, NULL);
    sd_layernorm_backward(&head->norm, context, masked, head->hidden, dnormalised, NULL, dhidden);
    sd_linear_backward(&head->dense, context, masked, head->tokens, NULL, dhidden, &gelu_backward, dtokens, NULL);
}

static void backward(sd_node *node, const sd_context *context, float *dlogits, float *dx, const sd_epilogue *epilogue) {
    masked_head *head = (masked_head *)node;
    const size_t masked = masked_of(context), c = (size_t)node->in.c, rows = sd_rows(context, node->in);
    float *dtokens = context->work[0];
    if (masked > 0)
        tokens_backward(head, context, masked, dlogits, dtokens);
    else
        clear_gradients(head, context);
    if (dx) {
        memset(dx, 0, rows * c * sizeof *dx);
        for (size_t i = 0; i < masked; i++)
            memcpy(dx + (size_t)context->input->masked[i] * c, dtokens + i * c, c * sizeof *dx);
        context->k->apply_epilogue(rows, node->in.c, dx, epilogue, context->scratch);
    }
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    (void)node;
    (void)plan;
    (void)graph;
    (void)value;
    return sd_fail(SD_ERR_DATA,
                   "a network that predicts masked tokens (train.objective = mlm) has no ONNX file; export "
                   "its safetensors, or the classifier that begins with it (model.init)");
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

static sd_status add_decoder(sd_network *network, masked_head *head, const char *name, int c) {
    const int words = network->spec.classes;
    head->decoder = (sd_linear){.in = c, .out = words};
    SD_TRY(sd_embedding_tie(network, &head->decoder.weight));
    if (head->decoder.weight->shape[0] != words)
        return sd_fail(SD_ERR_INTERNAL, "%s: %d classes, where the vocabulary has %d", name, words,
                       head->decoder.weight->shape[0]);
    sd_network_want_scratch(network, sd_linear_scratch_elems(c, words, network->threads));
    return sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {words}, .fit = SD_FIT_HEAD}, name, "bias",
                                 &head->decoder.bias);
}

sd_status sd_build_masked_head(sd_network *network, const sd_masked_head_spec *spec) {
    masked_head *head;
    char layer[SD_NAME_BYTES];
    SD_TRY(sd_network_add_node(network, &kind, sizeof *head, -1, &head));
    const int c = head->node.in.c;
    const size_t most = (size_t)spec->masked, elems = most * (size_t)c;
    sd_network_want_work(network, elems);
    SD_TRY(sd_network_reserve(network, &head->tokens, elems));
    SD_TRY(sd_network_reserve(network, &head->product, elems));
    SD_TRY(sd_network_reserve(network, &head->hidden, elems));
    SD_TRY(add_decoder(network, head, spec->name, c));
    SD_TRY(sd_name_format(layer, "%s.transform.dense", spec->name));
    SD_TRY(sd_linear_init(network, &head->dense, layer, c, c, INIT_DEVIATION));
    SD_TRY(sd_name_format(layer, "%s.transform.LayerNorm", spec->name));
    SD_TRY(sd_layernorm_init(network, &head->norm, layer, most, c, spec->epsilon));
    head->dense.weight->fit = head->dense.bias->fit = head->norm.gamma->fit = head->norm.beta->fit = SD_FIT_HEAD;
    network->flops += 2.0 * (double)elems * (c + network->spec.classes);
    return sd_network_end_head(network, &head->node, spec->masked);
}
