/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "network.h"

/* ---- ResNet: conv-bn-relu, perhaps max pooling ---- */

static void conv_forward(sd_stem *stem, const sd_context *context, const float *images, float *y) {
    const sd_conv2d *conv = &stem->conv.layer.conv;
    const int h = sd_conv2d_out_h(conv), w = sd_conv2d_out_w(conv);
    const sd_operand in = sd_plain(images);
    sd_operand normalised = sd_conv_bn_forward(&stem->conv.layer, context, &in, 1);
    normalised.relu = true;
    context->k->evaluate(sd_conv_rows_out(conv), conv->k, &normalised, stem->conv.pool ? stem->conv.unpooled : y);
    if (stem->conv.pool)
        context->k->maxpool_forward(conv->images, h, w, conv->k, stem->conv.unpooled, y);
}

/* Of the gradient of the convolution's normalised product, which is under the ReLU. */
static sd_epilogue conv_sums(const sd_stem *stem, const float *y) {
    sd_epilogue sums = sd_conv_bn_sums(&stem->conv.layer);
    sums.mask = sd_plain(y);
    return sums;
}

static sd_epilogue conv_awaits(const sd_stem *stem) {
    return stem->conv.pool ? (sd_epilogue){0} : conv_sums(stem, stem->y);
}

static void conv_backward(sd_stem *stem, const sd_context *context, const float *images, float *dy) {
    const sd_conv2d *conv = &stem->conv.layer.conv;
    const int h = sd_conv2d_out_h(conv), w = sd_conv2d_out_w(conv);
    const sd_operand in = sd_plain(images);
    if (stem->conv.pool) {
        const sd_epilogue sums = conv_sums(stem, stem->conv.unpooled);
        float *dunpooled = context->work[0];
        context->k->maxpool_backward(conv->images, h, w, conv->k, stem->conv.unpooled, dy, dunpooled);
        context->k->finish(sd_conv_rows_out(conv), conv->k, dunpooled, &sums, context->scratch);
        dy = dunpooled;
    }
    sd_conv_bn_backward(&stem->conv.layer, context, &in, dy, 1, NULL, NULL);
}

static sd_status stem_begin(sd_network *network, sd_shape image) {
    network->stem.image = image;
    return sd_network_open_segment(network, -1, &network->stem.segment);
}

static sd_status stem_end(sd_network *network, sd_shape out, double flops) {
    network->stem.out = out;
    network->stem.flops = flops;
    network->flops += flops;
    sd_network_want_gradient(network, sd_shape_elems(out));
    return sd_arena_reserve(&network->arena, &network->stem.y, sd_shape_elems(out) * (size_t)network->max_images);
}

sd_status sd_network_stem_conv(sd_network *network, sd_shape image, int filters, int kernel, int stride, bool pool) {
    sd_stem *stem = &network->stem;
    sd_shape out;
    SD_TRY(stem_begin(network, image));
    SD_TRY(sd_conv_bn_init(network, &stem->conv.layer, "conv1", "bn1", image, filters, kernel, stride, &out));
    stem->forward = conv_forward;
    stem->awaits = conv_awaits;
    stem->backward = conv_backward;
    stem->conv.pool = pool;
    if (pool) {
        sd_network_want_work(network, sd_shape_elems(out));
        SD_TRY(
            sd_arena_reserve(&network->arena, &stem->conv.unpooled, sd_shape_elems(out) * (size_t)network->max_images));
        out.h = (out.h + 1) / 2;
        out.w = (out.w + 1) / 2;
    }
    return stem_end(network, out, sd_conv_bn_flops(&stem->conv.layer));
}

/* ---- ViT: patches, class token, position embedding ---- */

/* y[n] = (cls_token, patches of image n x weight + bias) + pos_embed */
static void patch_forward(sd_stem *stem, const sd_context *context, const float *images, float *y) {
    const size_t dim = (size_t)stem->out.c, tokens = (size_t)stem->out.h;
    const float *cls = stem->patch.cls_token->value, *pos = stem->patch.pos_embed->value,
                *bias = stem->patch.bias->value;
    float *patches = context->work[0];
    const sd_operand in = sd_plain(images);
    stem->patch.conv.images = context->pass->images;
    context->k->conv2d_forward(&stem->patch.conv, &in, stem->patch.weight->value, patches, NULL, context->scratch);
    for (size_t n = 0; n < (size_t)context->pass->images; n++)
        for (size_t t = 0; t < tokens; t++, y += dim) {
            const float *patch = t > 0 ? patches + (n * (tokens - 1) + t - 1) * dim : NULL;
            for (size_t i = 0; i < dim; i++)
                y[i] = (patch ? patch[i] + bias[i] : cls[i]) + pos[t * dim + i];
        }
}

static sd_epilogue patch_awaits(const sd_stem *stem) {
    (void)stem;
    return (sd_epilogue){0};
}

static void patch_backward(sd_stem *stem, const sd_context *context, const float *images, float *dy) {
    const size_t dim = (size_t)stem->out.c, tokens = (size_t)stem->out.h, images_here = (size_t)context->pass->images;
    float *dpatches = context->work[0], *dpos = stem->patch.pos_embed->gradient, *dbias = stem->patch.bias->gradient;
    memset(dpos, 0, tokens * dim * sizeof(float));
    memset(dbias, 0, dim * sizeof(float));
    for (size_t n = 0; n < images_here; n++) {
        context->k->accumulate(tokens * dim, dy + n * tokens * dim, dpos);
        memcpy(dpatches + n * (tokens - 1) * dim, dy + (n * tokens + 1) * dim, (tokens - 1) * dim * sizeof(float));
    }
    memcpy(stem->patch.cls_token->gradient, dpos, dim * sizeof(float)); /* both are added to token 0 */
    for (size_t t = 1; t < tokens; t++)
        context->k->accumulate(dim, dpos + t * dim, dbias);
    const sd_operand in = sd_plain(images);
    const sd_operand gradient = sd_plain(dpatches);
    context->k->conv2d_backward(&stem->patch.conv, &in, &gradient, stem->patch.weight->value,
                                stem->patch.weight->gradient, NULL, NULL, context->scratch);
}

sd_status sd_network_stem_patch(sd_network *network, sd_shape image, int dim, int patch_size) {
    sd_stem *stem = &network->stem;
    SD_TRY(stem_begin(network, image));
    stem->forward = patch_forward;
    stem->awaits = patch_awaits;
    stem->backward = patch_backward;
    stem->patch.conv = (sd_conv2d){.images = network->max_images,
                                   .h = image.h,
                                   .w = image.w,
                                   .c = image.c,
                                   .k = dim,
                                   .r = patch_size,
                                   .s = patch_size,
                                   .stride = patch_size};
    const int tokens = sd_conv2d_out_h(&stem->patch.conv) * sd_conv2d_out_w(&stem->patch.conv) + 1;
    const int fan_in = image.c * patch_size * patch_size;
    /* timm leaves the embedding at PyTorch's default for convolutions, and draws the others with these deviations. */
    const float bound = 1.0f / sqrtf((float)fan_in);
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 3, .shape = {1, 1, dim}, .init_deviation = 1e-6f}, NULL,
                                 "cls_token", &stem->patch.cls_token));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 3, .shape = {1, tokens, dim}, .init_deviation = 0.02f},
                                 NULL, "pos_embed", &stem->patch.pos_embed));
    SD_TRY(sd_network_add_tensor(network,
                                 (sd_tensor){.layout = SD_LAYOUT_HWIO,
                                             .dims = 4,
                                             .shape = {dim, image.c, patch_size, patch_size},
                                             .matrix = true,
                                             .init_bound = bound},
                                 "patch_embed.proj", "weight", &stem->patch.weight));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {dim}, .init_bound = bound},
                                 "patch_embed.proj", "bias", &stem->patch.bias));
    sd_network_want_scratch(network, sd_conv2d_scratch_elems(&stem->patch.conv, network->threads));
    sd_network_want_work(network, (size_t)tokens * (size_t)dim);
    return stem_end(network, (sd_shape){tokens, 1, dim}, 2.0 * (tokens - 1) * dim * fan_in);
}
