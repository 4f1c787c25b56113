/* SPDX-License-Identifier: Apache-2.0 */
/* Basic block (two 3x3 convolutions) and bottleneck (1x1, 3x3, 1x1): F(x) = bn(conv(... relu(bn(conv(x))))). */
#include "network.h"

/* What layer i + 1 reads: the normalised product of layer i under the ReLU, as the forward pass has left it. */
static sd_operand hidden(const sd_branch *branch, int i) {
    const sd_conv_bn *layer = &branch->conv.layer[i];
    return (sd_operand){.u = layer->product, .a = layer->a, .d = layer->d, .relu = true};
}

static size_t rows_in(const sd_conv2d *conv) { return (size_t)conv->images * (size_t)conv->h * (size_t)conv->w; }

static void conv_forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut,
                         float scale, bool relu, float *y) {
    const int last = branch->conv.n - 1;
    sd_operand in = sd_plain(x);
    for (int i = 0; i <= last; i++) {
        in = sd_conv_bn_forward(&branch->conv.layer[i], context, &in, i == last ? scale : 1);
        in.relu = i < last || relu;
    }
    in.v = shortcut;
    context->k->evaluate(sd_conv_rows_out(&branch->conv.layer[last].conv), branch->conv.layer[last].conv.k, &in, y);
}

static sd_epilogue conv_sums(const sd_branch *branch) {
    return sd_conv_bn_sums(&branch->conv.layer[branch->conv.n - 1]);
}

static void conv_backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                          const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    sd_conv_bn *layer = branch->conv.layer;
    for (int i = branch->conv.n - 1; i > 0; i--) {
        const sd_operand in = hidden(branch, i - 1);
        sd_epilogue to_hidden = sd_conv_bn_sums(&layer[i - 1]);
        float *dhidden = context->work[i % 2];
        to_hidden.mask = in;
        sd_conv_bn_backward(&layer[i], context, &in, dy, scale, dhidden, &to_hidden);
        dy = dhidden;
        scale = 1;
    }
    const sd_conv2d *first = &layer[0].conv;
    const sd_operand in = sd_plain(x);
    sd_epilogue to_input = *epilogue;
    to_input.add = shortcut;
    if (shortcut != dx) {
        sd_conv_bn_backward(&layer[0], context, &in, dy, scale, dx, &to_input);
        return;
    }
    float *dbranch = context->work[0];
    sd_conv_bn_backward(&layer[0], context, &in, dy, scale, dbranch, NULL);
    to_input.add = dbranch;
    context->k->finish(rows_in(first), first->c, dx, &to_input, context->scratch);
}

static const sd_branch_kind conv_kind = {conv_forward, conv_sums, conv_backward};

sd_status sd_conv_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int n,
                              const sd_conv_spec *spec, bool zero_init, sd_shape *out) {
    branch->kind = &conv_kind;
    branch->conv.n = n;
    for (int i = 0; i < n; i++) {
        sd_conv_bn *layer = &branch->conv.layer[i];
        char conv[SD_NAME_BYTES], norm[SD_NAME_BYTES];
        SD_TRY(sd_name_format(conv, "%s.conv%d", name, i + 1));
        SD_TRY(sd_name_format(norm, "%s.bn%d", name, i + 1));
        SD_TRY(sd_conv_bn_init(network, layer, conv, norm, in, spec[i].filters, spec[i].kernel, spec[i].stride, out));
        branch->flops += sd_conv_bn_flops(layer);
        if (i > 0)
            sd_network_want_work(network, sd_shape_elems(in));
        if (i + 1 == n && zero_init)
            layer->gamma->init_mean = 0;
        in = *out;
    }
    return SD_OK;
}
