/* Basic block (two 3x3 convolutions) and bottleneck (1x1, 3x3, 1x1): F(x) = bn(conv(... relu(bn(conv(x))))). */
#include <stdio.h>

#include "network.h"

static size_t out_elems(const sd_branch *branch, const sd_context *context) {
    const sd_conv2d *last = &branch->conv.layer[branch->conv.n - 1].conv;
    return (size_t)context->pass->images * (size_t)sd_conv2d_out_h(last) * (size_t)sd_conv2d_out_w(last) *
           (size_t)last->k;
}

static void conv_forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut,
                         float scale, bool relu, float *y) {
    float *z = context->work[SD_WORK_BUFFERS - 1];
    for (int i = 0; i < branch->conv.n; i++) {
        bool last = i + 1 == branch->conv.n;
        float *out = last ? z : branch->conv.hidden[i];
        sd_conv_bn_forward(&branch->conv.layer[i], context, x, !last, out);
        x = out;
    }
    context->k->residual_add(out_elems(branch, context), shortcut, z, scale, relu, y);
}

static void conv_backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                          float *dx) {
    const sd_conv2d *first = &branch->conv.layer[0].conv;
    float *dz = context->work[SD_WORK_BUFFERS - 1];
    context->k->scale(out_elems(branch, context), scale, dy, dz);
    for (int i = branch->conv.n - 1; i >= 0; i--) {
        bool last = i + 1 == branch->conv.n;
        float *din = context->work[i % 2];
        sd_conv_bn_backward(&branch->conv.layer[i], context, i > 0 ? branch->conv.hidden[i - 1] : x,
                            last ? NULL : branch->conv.hidden[i], dz, din);
        dz = din;
    }
    context->k->accumulate((size_t)first->images * (size_t)first->h * (size_t)first->w * (size_t)first->c, dz, dx);
}

static const sd_branch_kind conv_kind = {conv_forward, conv_backward};

sd_status sd_conv_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int n,
                              const sd_conv_spec *spec, bool zero_init, sd_shape *out) {
    branch->kind = &conv_kind;
    branch->conv.n = n;
    for (int i = 0; i < n; i++) {
        sd_conv_bn *layer = &branch->conv.layer[i];
        char conv[48], norm[48];
        snprintf(conv, sizeof conv, "%s.conv%d", name, i + 1);
        snprintf(norm, sizeof norm, "%s.bn%d", name, i + 1);
        SD_TRY(sd_conv_bn_init(network, layer, conv, norm, in, spec[i].filters, spec[i].kernel, spec[i].stride, out));
        branch->flops += sd_conv_bn_flops(layer);
        if (i + 1 < n)
            SD_TRY(sd_arena_reserve(&network->arena, &branch->conv.hidden[i],
                                    sd_shape_elems(*out) * (size_t)network->max_images));
        else if (zero_init)
            layer->gamma->init_mean = 0;
        in = *out;
    }
    return SD_OK;
}
