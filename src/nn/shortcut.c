/* SPDX-License-Identifier: Apache-2.0 */
#include "shortcut.h"

#include "network.h"

static sd_status init_projection(sd_network *network, sd_shortcut *shortcut, const char *name) {
    const sd_conv_spec spec = {shortcut->out.c, 1, shortcut->stride};
    char conv[SD_NAME_BYTES], norm[SD_NAME_BYTES];
    SD_TRY(sd_name_format(conv, "%s.downsample.0", name));
    SD_TRY(sd_name_format(norm, "%s.downsample.1", name));
    SD_TRY(sd_network_open_segment(network, -1, &shortcut->segment));
    SD_TRY(sd_conv_bn_init(network, &shortcut->projection, conv, norm, shortcut->in, &spec, &(sd_shape){0}));
    network->flops += sd_conv_bn_flops(&shortcut->projection);
    return SD_OK;
}

static int subsampled(int pixels, int stride) { return (pixels + stride - 1) / stride; }

static bool leads_out(const sd_shortcut *shortcut) {
    const sd_shape in = shortcut->in, out = shortcut->out;
    if (shortcut->kind == SD_SHORTCUT_IDENTITY)
        return in.h == out.h && in.w == out.w && in.c == out.c;
    return shortcut->stride > 0 && subsampled(in.h, shortcut->stride) == out.h &&
           subsampled(in.w, shortcut->stride) == out.w && (shortcut->kind == SD_SHORTCUT_PROJECTION || in.c <= out.c);
}

sd_status sd_shortcut_init(sd_network *network, sd_shortcut *shortcut, const char *name) {
    const sd_shape in = shortcut->in, out = shortcut->out;
    if (!leads_out(shortcut))
        return sd_fail(SD_ERR_INTERNAL, "%s: the shortcut of stride %d does not lead from [%d, %d, %d] to [%d, %d, %d]",
                       name, shortcut->stride, in.h, in.w, in.c, out.h, out.w, out.c);
    if (shortcut->kind !=
        SD_SHORTCUT_IDENTITY) /* dx holds the shortcut's gradient, so the branch needs a buffer of its own */
        sd_network_want_work(network, sd_shape_elems(in));
    return shortcut->kind == SD_SHORTCUT_PROJECTION ? init_projection(network, shortcut, name) : SD_OK;
}

const float *sd_shortcut_forward(sd_shortcut *shortcut, const sd_context *context, const float *x, bool relu,
                                 float *y) {
    const sd_shape in = shortcut->in, out = shortcut->out;
    switch (shortcut->kind) {
    case SD_SHORTCUT_IDENTITY:
        return x;
    case SD_SHORTCUT_SUBSAMPLE:
        context->k->subsample_forward(context->pass->images, in.h, in.w, in.c, shortcut->stride, out.c, x, y);
        return y;
    case SD_SHORTCUT_PROJECTION: {
        const sd_operand of_x = sd_plain(x);
        sd_operand projected = sd_conv_bn_forward(&shortcut->projection, context, &of_x, 1);
        projected.relu = relu;
        context->k->store_operand(sd_rows(context, out), out.c, &projected, y);
        return y;
    }
    }
    return NULL;
}

sd_epilogue sd_shortcut_gradient_epilogue(const sd_shortcut *shortcut) {
    return shortcut->kind == SD_SHORTCUT_PROJECTION ? sd_conv_bn_sums(&shortcut->projection) : (sd_epilogue){0};
}

const float *sd_shortcut_backward(sd_shortcut *shortcut, const sd_context *context, const float *x, const float *dy,
                                  float *dx) {
    const sd_shape in = shortcut->in, out = shortcut->out;
    switch (shortcut->kind) {
    case SD_SHORTCUT_IDENTITY:
        return dy;
    case SD_SHORTCUT_SUBSAMPLE:
        if (dx)
            context->k->subsample_backward(context->pass->images, in.h, in.w, in.c, shortcut->stride, out.c, dy, dx);
        return dx;
    case SD_SHORTCUT_PROJECTION: {
        const sd_operand of_x = sd_plain(x);
        sd_conv_bn_backward(&shortcut->projection, context, &of_x, dy, 1, dx, NULL);
        sd_segment_complete(context, shortcut->segment);
        return dx;
    }
    }
    return NULL;
}

sd_status sd_shortcut_describe(const sd_shortcut *shortcut, sd_graph *graph, int *value) {
    switch (shortcut->kind) {
    case SD_SHORTCUT_IDENTITY:
        return SD_OK;
    case SD_SHORTCUT_SUBSAMPLE:
        return sd_graph_add(graph, (sd_op){.kind = SD_OP_SUBSAMPLE, .out = shortcut->out, .stride = shortcut->stride},
                            value);
    case SD_SHORTCUT_PROJECTION:
        return sd_conv_bn_describe(&shortcut->projection, graph, value);
    }
    return SD_OK;
}
