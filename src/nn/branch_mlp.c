/* SPDX-License-Identifier: Apache-2.0 */
/* F(x) = fc2(gelu(fc1(norm(x)))), the second branch of a pre-norm transformer block (Dosovitskiy et al. 2021,
 * equation 3). */
#include "branch.h"
#include "layer.h"
#include "network.h"

typedef struct mlp_branch {
    sd_branch branch;
    sd_layernorm norm;
    sd_linear fc1, fc2;
    float *hidden; /* [images, tokens, hidden], before gelu */
} mlp_branch;

static void forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y) {
    mlp_branch *b = (mlp_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map normalise = sd_layernorm_forward(&b->norm, context, rows, x), add = sd_map_add(shortcut, scale);
    const sd_map gelu = {.kind = SD_MAP_GELU};
    (void)relu;
    sd_linear_forward(&b->fc1, context, rows, x, &normalise, b->hidden, NULL);
    sd_linear_forward(&b->fc2, context, rows, b->hidden, &gelu, y, &add);
}

static void backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    mlp_branch *b = (mlp_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map normalise = sd_layernorm_map(&b->norm, context), gelu = {.kind = SD_MAP_GELU};
    const sd_map scaled = {.kind = SD_MAP_SCALE, .scale = scale};
    const sd_map gelu_backward = {.kind = SD_MAP_GELU_BACKWARD, .other = b->hidden};
    float *dhidden = context->work[0], *dnormed = context->work[1];
    sd_linear_backward(&b->fc2, context, rows, b->hidden, &gelu, dy, &scaled, dhidden, NULL);
    sd_linear_backward(&b->fc1, context, rows, x, &normalise, dhidden, &gelu_backward, dnormed, NULL);
    sd_layernorm_backward(&b->norm, context, rows, x, dnormed, shortcut, dx ? dx : dhidden);
    if (dx)
        context->k->apply_epilogue(rows, branch->in.c, dx, epilogue, context->scratch);
}

static sd_status describe(const sd_branch *branch, sd_graph *graph, int *value) {
    const mlp_branch *b = (const mlp_branch *)branch;
    SD_TRY(sd_layernorm_describe(&b->norm, graph, value));
    SD_TRY(sd_linear_describe(&b->fc1, graph, value));
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_GELU}, value));
    return sd_linear_describe(&b->fc2, graph, value);
}

static const sd_branch_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_mlp_branch(sd_network *network, const sd_mlp_spec *spec) {
    mlp_branch *b;
    SD_TRY(sd_network_add_branch(network, &kind, sizeof *b, &b));
    const sd_shape in = b->branch.in;
    const size_t hidden_elems = (size_t)in.h * (size_t)in.w * (size_t)spec->hidden;
    b->branch.out = in;
    SD_TRY(sd_branch_add_norm(network, &b->branch, &b->norm, spec->norm, spec->epsilon));
    SD_TRY(sd_branch_add_linear(network, &b->branch, &b->fc1, spec->fc1, in.c, spec->hidden));
    SD_TRY(sd_branch_add_linear(network, &b->branch, &b->fc2, spec->fc2, spec->hidden, in.c));
    b->fc2.weight->ends_branch = b->fc2.bias->ends_branch = true;
    sd_network_want_work(network, hidden_elems);
    return sd_network_reserve(network, &b->hidden, hidden_elems);
}
