/* SPDX-License-Identifier: Apache-2.0 */
/* Basic block (two 3x3 convolutions) and bottleneck (1x1, 3x3, 1x1; He et al. 2016): F(x) = bn(conv(...
 * relu(bn(conv(x))))). */
#include "branch.h"
#include "layer.h"
#include "network.h"

typedef struct conv_branch {
    sd_branch branch;
    int n;
    sd_conv_bn layer[SD_CONV_BRANCH_MAX]; /* ReLU after all but the last */
} conv_branch;

/* The input of layer i + 1, as of the forward pass: relu(bn(conv)) of layer i. */
static sd_operand hidden(const conv_branch *b, int i) {
    const sd_conv_bn *layer = &b->layer[i];
    return (sd_operand){.u = layer->product, .a = layer->a, .d = layer->d, .relu = true};
}

static void forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y) {
    conv_branch *b = (conv_branch *)branch;
    const int last = b->n - 1;
    sd_operand in = sd_plain(x);
    for (int i = 0; i <= last; i++) {
        in = sd_conv_bn_forward(&b->layer[i], context, &in, i == last ? scale : 1);
        in.relu = i < last || relu;
    }
    in.v = shortcut;
    context->k->store_operand(sd_rows(context, branch->out), branch->out.c, &in, y);
}

static sd_epilogue gradient_epilogue(const sd_branch *branch) {
    const conv_branch *b = (const conv_branch *)branch;
    return sd_conv_bn_sums(&b->layer[b->n - 1]);
}

static void backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    conv_branch *b = (conv_branch *)branch;
    for (int i = b->n - 1; i > 0; i--) {
        const sd_operand in = hidden(b, i - 1);
        sd_epilogue of_hidden = sd_conv_bn_sums(&b->layer[i - 1]);
        float *dhidden = context->work[i % 2];
        of_hidden.mask = in;
        sd_conv_bn_backward(&b->layer[i], context, &in, dy, scale, dhidden, &of_hidden);
        dy = dhidden;
        scale = 1;
    }
    const sd_operand in = sd_plain(x);
    sd_epilogue of_dx = *epilogue;
    if (!dx) {
        sd_conv_bn_backward(&b->layer[0], context, &in, dy, scale, NULL, NULL);
        return;
    }
    of_dx.add = shortcut;
    if (shortcut != dx) {
        sd_conv_bn_backward(&b->layer[0], context, &in, dy, scale, dx, &of_dx);
        return;
    }
    float *dbranch = context->work[0];
    sd_conv_bn_backward(&b->layer[0], context, &in, dy, scale, dbranch, NULL);
    of_dx.add = dbranch;
    context->k->apply_epilogue(sd_rows(context, branch->in), branch->in.c, dx, &of_dx, context->scratch);
}

static sd_status describe(const sd_branch *branch, sd_graph *graph, int *value) {
    const conv_branch *b = (const conv_branch *)branch;
    for (int i = 0; i < b->n; i++) {
        SD_TRY(sd_conv_bn_describe(&b->layer[i], graph, value));
        if (i < b->n - 1)
            SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_RELU}, value));
    }
    return SD_OK;
}

static const sd_branch_kind kind = {.forward = forward,
                                    .gradient_epilogue = gradient_epilogue,
                                    .backward = backward,
                                    .describe = describe,
                                    .has_relu = true};

sd_status sd_build_conv_branch(sd_network *network, int n, const sd_conv_spec *convs, bool zero_init) {
    conv_branch *b;
    SD_TRY(sd_network_add_branch(network, &kind, sizeof *b, &b));
    if (n < 1 || n > SD_CONV_BRANCH_MAX)
        return sd_fail(SD_ERR_INTERNAL, "a branch of %d convolutions, where 1 to %d are possible", n,
                       SD_CONV_BRANCH_MAX);
    b->n = n;
    sd_shape in = b->branch.in;
    for (int i = 0; i < n; i++) {
        char conv[SD_NAME_BYTES], norm[SD_NAME_BYTES];
        SD_TRY(sd_name_format(conv, "%s.conv%d", network->open_name, i + 1));
        SD_TRY(sd_name_format(norm, "%s.bn%d", network->open_name, i + 1));
        SD_TRY(sd_conv_bn_init(network, &b->layer[i], conv, norm, in, &convs[i], &b->branch.out));
        b->branch.flops += sd_conv_bn_flops(&b->layer[i]);
        if (i > 0)
            sd_network_want_work(network, sd_shape_elems(in));
        in = b->branch.out;
    }
    b->layer[n - 1].gamma->ends_branch = b->layer[n - 1].beta->ends_branch = true;
    if (zero_init)
        b->layer[n - 1].gamma->init_mean = 0;
    return SD_OK;
}
