/* SPDX-License-Identifier: Apache-2.0 */
/* ViT's stem: y[n] = (cls_token, patches of image n x weight + bias) + pos_embed (Dosovitskiy et al. 2021, equation
 * 1). */
#include <math.h>
#include <string.h>

#include "layer.h"
#include "network.h"

typedef struct patch_stem {
    sd_node node;
    sd_conv2d conv;
    sd_tensor *weight, *bias, *cls_token, *pos_embed;
} patch_stem;

static void forward(sd_node *node, const sd_context *context) {
    patch_stem *stem = (patch_stem *)node;
    const size_t dim = (size_t)node->out.c, tokens = (size_t)node->out.h;
    const float *cls = sd_value(context, stem->cls_token), *pos = sd_value(context, stem->pos_embed),
                *bias = sd_value(context, stem->bias);
    float *patches = context->work[0], *y = node->y;
    const sd_operand in = sd_plain(context->input->pixels);
    stem->conv.images = context->pass->images;
    context->k->conv2d_forward(&stem->conv, &in, sd_value(context, stem->weight), patches, NULL, context->scratch);
    for (size_t n = 0; n < (size_t)context->pass->images; n++)
        for (size_t t = 0; t < tokens; t++, y += dim) {
            const float *patch = t > 0 ? patches + (n * (tokens - 1) + t - 1) * dim : NULL;
            for (size_t i = 0; i < dim; i++)
                y[i] = (patch ? patch[i] + bias[i] : cls[i]) + pos[t * dim + i];
        }
    node->output = node->y;
}

static void backward(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue) {
    patch_stem *stem = (patch_stem *)node;
    const size_t dim = (size_t)node->out.c, tokens = (size_t)node->out.h, images = (size_t)context->pass->images;
    float *dpatches = context->work[0], *dpos = sd_gradient(context, stem->pos_embed),
          *dbias = sd_gradient(context, stem->bias);
    memset(dpos, 0, tokens * dim * sizeof(float));
    memset(dbias, 0, dim * sizeof(float));
    for (size_t n = 0; n < images; n++) {
        context->k->accumulate(tokens * dim, dy + n * tokens * dim, dpos);
        memcpy(dpatches + n * (tokens - 1) * dim, dy + (n * tokens + 1) * dim, (tokens - 1) * dim * sizeof(float));
    }
    memcpy(sd_gradient(context, stem->cls_token), dpos,
           dim * sizeof(float)); /* cls_token and pos_embed are both added to token 0 */
    for (size_t t = 1; t < tokens; t++)
        context->k->accumulate(dim, dpos + t * dim, dbias);
    const sd_operand in = sd_plain(context->input->pixels), dproduct = sd_plain(dpatches);
    context->k->conv2d_backward(&stem->conv, &in, &dproduct, sd_value(context, stem->weight),
                                sd_gradient(context, stem->weight), dx, epilogue, context->scratch);
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const patch_stem *stem = (const patch_stem *)node;
    const sd_conv2d *conv = &stem->conv;
    const sd_op patches = {.kind = SD_OP_CONV,
                           .out = {sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), conv->k},
                           .weight = stem->weight,
                           .bias = stem->bias,
                           .kernel = conv->r,
                           .stride = conv->stride,
                           .pad = conv->pad};
    const sd_op tokens = {
        .kind = SD_OP_TOKENS, .out = node->out, .class_token = stem->cls_token, .position = stem->pos_embed};
    (void)plan;
    SD_TRY(sd_graph_add(graph, patches, value));
    return sd_graph_add(graph, tokens, value);
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

static sd_status add_tensors(sd_network *network, patch_stem *stem, int tokens, int dim, int channels, int patch_size) {
    /* timm's initial values: PyTorch's default of convolutions for the embedding, these deviations for the others. */
    const float bound = 1.0f / sqrtf((float)(channels * patch_size * patch_size));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 3, .shape = {1, 1, dim}, .init_deviation = 1e-6f}, NULL,
                                 "cls_token", &stem->cls_token));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 3, .shape = {1, tokens, dim}, .init_deviation = 0.02f},
                                 NULL, "pos_embed", &stem->pos_embed));
    SD_TRY(sd_network_add_tensor(network,
                                 (sd_tensor){.layout = SD_LAYOUT_HWIO,
                                             .dims = 4,
                                             .shape = {dim, channels, patch_size, patch_size},
                                             .matrix = true,
                                             .init_bound = bound},
                                 "patch_embed.proj", "weight", &stem->weight));
    return sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {dim}, .init_bound = bound},
                                 "patch_embed.proj", "bias", &stem->bias);
}

sd_status sd_build_patch_stem(sd_network *network, sd_shape image, int dim, int patch_size) {
    patch_stem *stem;
    SD_TRY(sd_network_add_stem(network, &kind, sizeof *stem, image, &stem));
    stem->conv = (sd_conv2d){.images = network->spec.max_images,
                             .h = image.h,
                             .w = image.w,
                             .c = image.c,
                             .k = dim,
                             .r = patch_size,
                             .s = patch_size,
                             .stride = patch_size};
    const int rows = sd_conv2d_out_h(&stem->conv), columns = sd_conv2d_out_w(&stem->conv);
    const int patches = rows * columns, tokens = 1 + patches;
    SD_TRY(add_tensors(network, stem, tokens, dim, image.c, patch_size));
    stem->pos_embed->fit = rows == columns ? SD_FIT_GRID : SD_FIT_EXACT;
    network->flops += 2.0 * patches * dim * image.c * patch_size * patch_size;
    sd_network_want_scratch(network, sd_conv2d_scratch_elems(&stem->conv, network->threads));
    sd_network_want_work(network, (size_t)tokens * (size_t)dim);
    return sd_network_end_node(network, &stem->node, (sd_shape){tokens, 1, dim});
}
