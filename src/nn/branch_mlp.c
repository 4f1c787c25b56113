/* SPDX-License-Identifier: Apache-2.0 */
/* F(x) = fc2(gelu(fc1(norm(x)))), the second branch of a transformer block: with the norm pre-norm (Dosovitskiy et al.
 * 2021, equation 3), without it post-norm (Vaswani et al. 2017; the residual has the norm). */
#include "branch.h"
#include "layer.h"
#include "network.h"

typedef struct mlp_branch {
    sd_branch branch;
    sd_branch_first fc1;
    sd_branch_last fc2;
    float *hidden; /* [images, tokens, hidden], before gelu */
} mlp_branch;

static void forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y) {
    mlp_branch *b = (mlp_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map gelu = {.kind = SD_MAP_GELU};
    (void)relu;
    sd_branch_first_forward(&b->fc1, context, rows, x, b->hidden);
    sd_branch_last_forward(&b->fc2, context, rows, b->hidden, &gelu, shortcut, scale, y);
}

static void backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    mlp_branch *b = (mlp_branch *)branch;
    const size_t rows = sd_rows(context, branch->in);
    const sd_map gelu = {.kind = SD_MAP_GELU}, gelu_backward = {.kind = SD_MAP_GELU_BACKWARD, .other = b->hidden};
    float *dhidden = context->work[0], *dnormed = context->work[1];
    sd_branch_last_backward(&b->fc2, context, rows, b->hidden, &gelu, dy, scale, dhidden);
    sd_branch_first_backward(&b->fc1, context, rows, x, dhidden, &gelu_backward, dnormed, shortcut, dx, epilogue);
}

static sd_status describe(const sd_branch *branch, sd_graph *graph, int *value) {
    const mlp_branch *b = (const mlp_branch *)branch;
    SD_TRY(sd_branch_first_describe(&b->fc1, graph, value));
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_GELU}, value));
    return sd_branch_last_describe(&b->fc2, graph, value);
}

static const sd_branch_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_build_mlp_branch(sd_network *network, const sd_mlp_spec *spec) {
    mlp_branch *b;
    SD_TRY(sd_network_add_branch(network, &kind, sizeof *b, &b));
    const sd_shape in = b->branch.in;
    const size_t hidden_elems = (size_t)in.h * (size_t)in.w * (size_t)spec->hidden;
    b->branch.out = in;
    SD_TRY(sd_branch_first_init(network, &b->branch, &b->fc1, spec->norm, spec->epsilon, 1, &spec->fc1, spec->hidden));
    SD_TRY(sd_branch_last_init(network, &b->branch, &b->fc2, spec->fc2, spec->hidden, spec->dropout));
    sd_network_want_work(network, hidden_elems);
    return sd_network_reserve(network, &b->hidden, hidden_elems);
}
