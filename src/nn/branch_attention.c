/* SPDX-License-Identifier: Apache-2.0 */
/* F(x) = projection(attention(qkv(norm(x)))), the first branch of a transformer block: with the norm pre-norm
 * (Dosovitskiy et al. 2021, equation 2), without it post-norm (Vaswani et al. 2017; the residual has the norm). */
#include "branch.h"
#include "layer.h"
#include "network.h"

typedef struct attention_branch {
    sd_branch branch;
    int tokens, heads, head_dim;
    sd_branch_first qkv;
    sd_dropout_layer dropout; /* of the probabilities */
    sd_branch_last projection;
    float *queries_keys_values; /* [images, tokens, 3 c] */
    float *mixed;               /* [images, tokens, c], output of attention */
} attention_branch;

static sd_attention attention_of(const attention_branch *b, const sd_context *context) {
    return (sd_attention){.images = context->pass->images,
                          .tokens = b->tokens,
                          .heads = b->heads,
                          .head_dim = b->head_dim,
                          .lengths = context->input->lengths,
                          .dropout = sd_dropout_of(&b->dropout, context)};
}

static void forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y) {
    attention_branch *b = (attention_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_attention attention = attention_of(b, context);
    (void)relu;
    sd_branch_first_forward(&b->qkv, context, rows, x, b->queries_keys_values);
    context->k->attention_forward(&attention, b->queries_keys_values, b->mixed, context->scratch);
    sd_branch_last_forward(&b->projection, context, rows, b->mixed, NULL, shortcut, scale, y);
}

static void backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    attention_branch *b = (attention_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_attention attention = attention_of(b, context);
    float *dmixed = context->work[0], *dqkv = context->work[1], *dnormed = context->work[0];
    sd_branch_last_backward(&b->projection, context, rows, b->mixed, NULL, dy, scale, dmixed);
    context->k->attention_backward(&attention, b->queries_keys_values, dmixed, dqkv, context->scratch);
    sd_branch_first_backward(&b->qkv, context, rows, x, dqkv, NULL, dnormed, shortcut, dx, epilogue);
}

static sd_status describe(const sd_branch *branch, sd_graph *graph, int *value) {
    const attention_branch *b = (const attention_branch *)branch;
    SD_TRY(sd_branch_first_describe(&b->qkv, graph, value));
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_ATTENTION, .out = branch->out, .heads = b->heads}, value));
    return sd_branch_last_describe(&b->projection, graph, value);
}

static const sd_branch_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_attention_branch(sd_network *network, const sd_attention_spec *spec) {
    attention_branch *b;
    SD_TRY(sd_network_add_branch(network, &kind, sizeof *b, &b));
    const int c = b->branch.in.c, tokens = b->branch.in.h * b->branch.in.w, parts = spec->qkv[1] ? 3 : 1;
    const size_t elems = sd_shape_elems(b->branch.in);
    if (spec->heads < 1 || c % spec->heads)
        return sd_fail(SD_ERR_INTERNAL, "%s: %d heads do not divide %d channels", network->open_name, spec->heads, c);
    b->branch.out = b->branch.in;
    b->tokens = tokens;
    b->heads = spec->heads;
    b->head_dim = c / spec->heads;
    SD_TRY(
        sd_branch_first_init(network, &b->branch, &b->qkv, spec->norm, spec->epsilon, parts, spec->qkv, 3 / parts * c));
    sd_dropout_init(network, &b->dropout, spec->attention_dropout);
    SD_TRY(sd_branch_last_init(network, &b->branch, &b->projection, spec->projection, c, spec->dropout));
    b->branch.flops += 2 * 2.0 * tokens * tokens * c; /* Q K^T and P V */
    sd_network_want_scratch(network, sd_attention_scratch_elems(tokens, b->head_dim, network->threads));
    sd_network_want_work(network, 3 * elems);
    SD_TRY(sd_network_reserve(network, &b->queries_keys_values, 3 * elems));
    return sd_network_reserve(network, &b->mixed, elems);
}
