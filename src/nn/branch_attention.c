/* SPDX-License-Identifier: Apache-2.0 */
/* F(x) = projection(attention(qkv(norm(x)))), the first branch of a pre-norm transformer block (Dosovitskiy et al.
 * 2021, equation 2). */
#include "branch.h"
#include "layer.h"
#include "network.h"

typedef struct attention_branch {
    sd_branch branch;
    sd_attention attention;
    sd_layernorm norm;
    sd_linear qkv, projection;
    float *queries_keys_values; /* [images, tokens, 3 c] */
    float *mixed;               /* [images, tokens, c], output of attention */
} attention_branch;

static void forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y) {
    attention_branch *b = (attention_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map normalise = sd_layernorm_forward(&b->norm, context, rows, x), add = sd_map_add(shortcut, scale);
    (void)relu;
    b->attention.images = context->pass->images;
    sd_linear_forward(&b->qkv, context, rows, x, &normalise, b->queries_keys_values, NULL);
    context->k->attention_forward(&b->attention, b->queries_keys_values, b->mixed, context->scratch);
    sd_linear_forward(&b->projection, context, rows, b->mixed, NULL, y, &add);
}

static void backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    attention_branch *b = (attention_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map normalise = sd_layernorm_map(&b->norm, context);
    const sd_map scaled = {.kind = SD_MAP_SCALE, .scale = scale};
    float *dmixed = context->work[0], *dqkv = context->work[1], *dnormed = context->work[0];
    sd_linear_backward(&b->projection, context, rows, b->mixed, NULL, dy, &scaled, dmixed, NULL);
    context->k->attention_backward(&b->attention, b->queries_keys_values, dmixed, dqkv, context->scratch);
    sd_linear_backward(&b->qkv, context, rows, x, &normalise, dqkv, NULL, dnormed, NULL);
    sd_layernorm_backward(&b->norm, context, rows, x, dnormed, shortcut, dx ? dx : dqkv);
    if (dx)
        context->k->apply_epilogue(rows, branch->in.c, dx, epilogue, context->scratch);
}

static sd_status describe(const sd_branch *branch, sd_graph *graph, int *value) {
    const attention_branch *b = (const attention_branch *)branch;
    SD_TRY(sd_layernorm_describe(&b->norm, graph, value));
    SD_TRY(sd_linear_describe(&b->qkv, graph, value));
    SD_TRY(
        sd_graph_add(graph, (sd_op){.kind = SD_OP_ATTENTION, .out = branch->out, .heads = b->attention.heads}, value));
    return sd_linear_describe(&b->projection, graph, value);
}

static const sd_branch_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_attention_branch(sd_network *network, const sd_attention_spec *spec) {
    attention_branch *b;
    SD_TRY(sd_network_add_branch(network, &kind, sizeof *b, &b));
    const int c = b->branch.in.c, tokens = b->branch.in.h * b->branch.in.w;
    const size_t elems = sd_shape_elems(b->branch.in);
    if (spec->heads < 1 || c % spec->heads)
        return sd_fail(SD_ERR_INTERNAL, "%s: %d heads do not divide %d channels", network->open_name, spec->heads, c);
    b->branch.out = b->branch.in;
    b->attention = (sd_attention){.tokens = tokens, .heads = spec->heads, .head_dim = c / spec->heads};
    SD_TRY(sd_branch_add_norm(network, &b->branch, &b->norm, spec->norm, spec->epsilon));
    SD_TRY(sd_branch_add_linear(network, &b->branch, &b->qkv, spec->qkv, c, 3 * c));
    SD_TRY(sd_branch_add_linear(network, &b->branch, &b->projection, spec->projection, c, c));
    b->projection.weight->ends_branch = b->projection.bias->ends_branch = true;
    b->branch.flops += 2 * 2.0 * tokens * tokens * c; /* Q K^T and P V */
    sd_network_want_scratch(network, sd_attention_scratch_elems(tokens, b->attention.head_dim, network->threads));
    sd_network_want_work(network, 3 * elems);
    SD_TRY(sd_network_reserve(network, &b->queries_keys_values, 3 * elems));
    return sd_network_reserve(network, &b->mixed, elems);
}
