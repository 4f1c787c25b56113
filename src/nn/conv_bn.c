#include <math.h>

#include "network.h"

static const float EPSILON = 1e-5f; /* PyTorch's default */

sd_status sd_conv_bn_init(sd_network *network, sd_conv_bn *layer, const char *conv_name, const char *norm_name,
                          sd_shape in, int filters, int kernel, int stride, sd_shape *out) {
    layer->conv = (sd_conv2d){.images = network->max_images,
                              .h = in.h,
                              .w = in.w,
                              .c = in.c,
                              .k = filters,
                              .r = kernel,
                              .s = kernel,
                              .stride = stride,
                              .pad = kernel / 2};
    *out = (sd_shape){sd_conv2d_out_h(&layer->conv), sd_conv2d_out_w(&layer->conv), filters};
    if (out->h < 1 || out->w < 1)
        return sd_fail(SD_ERR_CONFIG, "data.image_size: images are too small for this model: nothing is left at %s",
                       conv_name);
    size_t out_elems = sd_shape_elems(*out), pixels = (size_t)out->h * (size_t)out->w;

    /* He et al. 2015 with fan out, as torchvision and fb.resnet.torch. */
    float deviation = sqrtf(2.0f / (float)(filters * kernel * kernel));
    SD_TRY(sd_network_add_tensor(network,
                                 (sd_tensor){.layout = SD_LAYOUT_HWIO,
                                             .dims = 4,
                                             .shape = {filters, in.c, kernel, kernel},
                                             .matrix = true,
                                             .init_deviation = deviation},
                                 conv_name, "weight", &layer->weight));
    sd_tensor channel = {.dims = 1, .shape = {filters}};
    sd_tensor ones = channel, statistic = channel, statistic_ones = channel;
    ones.init_mean = statistic_ones.init_mean = 1;
    statistic.kind = statistic_ones.kind = SD_TENSOR_STATISTIC;
    SD_TRY(sd_network_add_tensor(network, ones, norm_name, "weight", &layer->gamma));
    SD_TRY(sd_network_add_tensor(network, channel, norm_name, "bias", &layer->beta));
    SD_TRY(sd_network_add_tensor(network, statistic, norm_name, "running_mean", &layer->running_mean));
    SD_TRY(sd_network_add_tensor(network, statistic_ones, norm_name, "running_var", &layer->running_variance));

    SD_TRY(sd_arena_reserve(&network->arena, &layer->product, out_elems * (size_t)network->max_images));
    SD_TRY(sd_arena_reserve(&network->arena, &layer->mean, (size_t)filters));
    SD_TRY(sd_arena_reserve(&network->arena, &layer->variance, (size_t)filters));
    sd_network_want_scratch(network, sd_conv2d_scratch_elems(&layer->conv));
    sd_network_want_scratch(network, sd_norm_scratch_elems(pixels * (size_t)network->max_images, filters));
    sd_network_want_work(network, sd_shape_elems(in));
    sd_network_want_work(network, out_elems);
    if (!network->batchnorm_values || pixels < network->batchnorm_values)
        network->batchnorm_values = pixels;
    return SD_OK;
}

static size_t rows_of(const sd_conv2d *conv) {
    return (size_t)conv->images * (size_t)sd_conv2d_out_h(conv) * (size_t)sd_conv2d_out_w(conv);
}

void sd_conv_bn_forward(sd_conv_bn *layer, const sd_context *context, const float *x, bool relu, float *y) {
    const sd_kernels *k = context->k;
    const sd_pass *pass = context->pass;
    sd_conv2d *conv = &layer->conv;
    conv->images = pass->images;
    const size_t rows = rows_of(conv);
    const float *mean = layer->running_mean->value, *variance = layer->running_variance->value;
    k->conv2d_forward(conv, x, layer->weight->value, layer->product, context->scratch);
    if (pass->training) {
        k->batchnorm_statistics(rows, conv->k, layer->product, layer->mean, layer->variance, context->scratch);
        mean = layer->mean;
        variance = layer->variance;
        /* This rank's part of the batch's statistics; the variance is unbiased, as PyTorch's running estimate. */
        float unbiased = pass->batch_share * (float)((double)rows / ((double)rows - 1));
        k->scale((size_t)conv->k, pass->batch_share, mean, layer->running_mean->gradient);
        k->scale((size_t)conv->k, unbiased, variance, layer->running_variance->gradient);
    }
    k->batchnorm_apply(rows, conv->k, layer->product, mean, variance, EPSILON, layer->gamma->value, layer->beta->value,
                       relu, y);
}

void sd_conv_bn_backward(sd_conv_bn *layer, const sd_context *context, const float *x, const float *y, const float *dy,
                         float *dx) {
    const sd_kernels *k = context->k;
    float *dproduct = context->work[SD_WORK_BUFFERS - 1];
    k->batchnorm_backward(rows_of(&layer->conv), layer->conv.k, layer->product, y, dy, layer->mean, layer->variance,
                          EPSILON, layer->gamma->value, dproduct, layer->gamma->gradient, layer->beta->gradient,
                          context->scratch);
    k->conv2d_backward_weights(&layer->conv, x, dproduct, layer->weight->gradient, context->scratch);
    if (dx)
        k->conv2d_backward_data(&layer->conv, dproduct, layer->weight->value, dx, context->scratch);
}

double sd_conv_bn_flops(const sd_conv_bn *layer) {
    const sd_conv2d *conv = &layer->conv;
    return 2.0 * sd_conv2d_out_h(conv) * sd_conv2d_out_w(conv) * conv->k * conv->r * conv->s * conv->c;
}
