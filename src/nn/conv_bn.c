/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "layer.h"
#include "network.h"

static const float EPSILON = 1e-5f; /* PyTorch's default */

sd_status sd_conv_bn_init(sd_network *network, sd_conv_bn *layer, const char *conv_name, const char *norm_name,
                          sd_shape in, const sd_conv_spec *spec, sd_shape *out) {
    const int filters = spec->filters, kernel = spec->kernel;
    layer->conv = (sd_conv2d){.images = network->spec.max_images,
                              .h = in.h,
                              .w = in.w,
                              .c = in.c,
                              .k = filters,
                              .r = kernel,
                              .s = kernel,
                              .stride = spec->stride,
                              .pad = kernel / 2,
                              .direct = network->spec.direct};
    *out = (sd_shape){sd_conv2d_out_h(&layer->conv), sd_conv2d_out_w(&layer->conv), filters};
    if (out->h < 1 || out->w < 1)
        return sd_fail(SD_ERR_CONFIG, "images are too small for this network: nothing is left at %s", conv_name);
    size_t out_elems = sd_shape_elems(*out), pixels = (size_t)out->h * (size_t)out->w;

    /* He et al. 2015, fan out, as in torchvision and fb.resnet.torch */
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
    statistic_ones.counted = true;
    SD_TRY(sd_network_add_tensor(network, ones, norm_name, "weight", &layer->gamma));
    SD_TRY(sd_network_add_tensor(network, channel, norm_name, "bias", &layer->beta));
    SD_TRY(sd_network_add_tensor(network, statistic, norm_name, "running_mean", &layer->running_mean));
    SD_TRY(sd_network_add_tensor(network, statistic_ones, norm_name, "running_var", &layer->running_variance));

    SD_TRY(sd_arena_reserve(&network->arena, &layer->product, out_elems * (size_t)network->spec.max_images));
    float **channels[] = {&layer->mean,        &layer->variance, &layer->a,  &layer->d, &layer->sum,
                          &layer->sum_product, &layer->da,       &layer->db, &layer->dd};
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++)
        SD_TRY(sd_arena_reserve(&network->arena, channels[i], (size_t)filters));
    sd_network_want_scratch(network, sd_conv2d_scratch_elems(&layer->conv, network->threads));
    SD_TRY(sd_grow(&network->norms, network->n_norms, &network->norms_capacity, sizeof *network->norms));
    network->norms[network->n_norms++] = layer;
    if (!network->batchnorm_values || pixels < network->batchnorm_values)
        network->batchnorm_values = pixels;
    return SD_OK;
}

/* Whether a training pass normalises by statistics of its own. */
static bool has_statistics(const sd_conv_bn *layer) {
    return !layer->running_mean->frozen && sd_conv_rows_out(&layer->conv) >= 2;
}

/* Uses the running statistics as the batch's; their gradients are 0, so this pass does not move them. */
static void take_running(sd_conv_bn *layer, const sd_context *context) {
    const size_t bytes = (size_t)layer->conv.k * sizeof(float);
    memcpy(layer->mean, sd_value(context, layer->running_mean), bytes);
    memcpy(layer->variance, sd_value(context, layer->running_variance), bytes);
    memset(sd_gradient(context, layer->running_mean), 0, bytes);
    memset(sd_gradient(context, layer->running_variance), 0, bytes);
}

/* gradient = batch_share (factor statistic - running): this pass's term of the running statistic's "gradient". */
static void move_running(const sd_tensor *running, const sd_context *context, float factor, const float *statistic) {
    const float *value = sd_value(context, running), batch_share = context->pass->batch_share;
    float *gradient = sd_gradient(context, running);
    for (size_t i = 0; i < running->elems; i++)
        gradient[i] = batch_share * (factor * statistic[i] - value[i]);
}

sd_operand sd_conv_bn_forward(sd_conv_bn *layer, const sd_context *context, const sd_operand *x, float scale) {
    const sd_kernels *k = context->k;
    const sd_pass *pass = context->pass;
    sd_conv2d *conv = &layer->conv;
    conv->images = pass->images;
    const float *weight = sd_value(context, layer->weight), *mean = sd_value(context, layer->running_mean),
                *variance = sd_value(context, layer->running_variance);
    if (pass->training && has_statistics(layer)) {
        const sd_epilogue statistics = {.mean = layer->mean, .variance = layer->variance};
        k->conv2d_forward(conv, x, weight, layer->product, &statistics, context->scratch);
        mean = layer->mean;
        variance = layer->variance;
        const double rows = (double)sd_conv_rows_out(conv);
        move_running(layer->running_mean, context, 1, mean);
        move_running(layer->running_variance, context, (float)(rows / (rows - 1)) /* unbiased, as in PyTorch */,
                     variance);
    } else {
        k->conv2d_forward(conv, x, weight, layer->product, NULL, context->scratch);
        if (pass->training)
            take_running(layer, context);
    }
    sd_batchnorm_forward(conv->k, mean, variance, EPSILON, sd_value(context, layer->gamma),
                         sd_value(context, layer->beta), scale, layer->a, layer->d);
    return (sd_operand){.u = layer->product, .a = layer->a, .d = layer->d};
}

sd_epilogue sd_conv_bn_sums(const sd_conv_bn *layer) {
    return (sd_epilogue){
        .product = layer->product, .product_mean = layer->mean, .sum = layer->sum, .sum_product = layer->sum_product};
}

void sd_conv_bn_backward(sd_conv_bn *layer, const sd_context *context, const sd_operand *x, const float *dy,
                         float scale, float *dx, const sd_epilogue *epilogue) {
    const sd_kernels *k = context->k;
    const sd_conv2d *conv = &layer->conv;
    sd_batchnorm_backward(sd_conv_rows_out(conv), conv->k, layer->mean, layer->variance, EPSILON,
                          sd_value(context, layer->gamma), scale, layer->sum, layer->sum_product,
                          sd_gradient(context, layer->gamma), sd_gradient(context, layer->beta), layer->da, layer->db,
                          layer->dd);
    if (!has_statistics(layer)) { /* mean and variance were constants */
        memset(layer->db, 0, (size_t)conv->k * sizeof(float));
        memset(layer->dd, 0, (size_t)conv->k * sizeof(float));
    }
    const sd_operand dproduct = {.u = dy, .a = layer->da, .v = layer->product, .b = layer->db, .d = layer->dd};
    k->conv2d_backward(conv, x, &dproduct, sd_value(context, layer->weight), sd_gradient(context, layer->weight), dx,
                       epilogue, context->scratch);
}

double sd_conv_bn_flops(const sd_conv_bn *layer) {
    const sd_conv2d *conv = &layer->conv;
    return 2.0 * sd_conv2d_out_h(conv) * sd_conv2d_out_w(conv) * conv->k * conv->r * conv->s * conv->c;
}

sd_status sd_conv_bn_describe(const sd_conv_bn *layer, sd_graph *graph, int *value) {
    const sd_conv2d *conv = &layer->conv;
    const sd_op convolution = {.kind = SD_OP_CONV,
                               .out = {sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), conv->k},
                               .weight = layer->weight,
                               .kernel = conv->r,
                               .stride = conv->stride,
                               .pad = conv->pad};
    const sd_op norm = {.kind = SD_OP_BATCHNORM,
                        .weight = layer->gamma,
                        .bias = layer->beta,
                        .mean = layer->running_mean,
                        .variance = layer->running_variance,
                        .epsilon = EPSILON};
    SD_TRY(sd_graph_add(graph, convolution, value));
    return sd_graph_add(graph, norm, value);
}
