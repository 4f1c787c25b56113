/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "layer.h"
#include "network.h"

static sd_status add_tensors(sd_network *network, const char *name, int in, int out, float init_deviation,
                             sd_tensor **weight, sd_tensor **bias) {
    const float bound = init_deviation > 0 ? 0 : 1.0f / sqrtf((float)in);
    SD_TRY(sd_network_add_tensor(
        network,
        (sd_tensor){
            .dims = 2, .shape = {out, in}, .matrix = true, .init_deviation = init_deviation, .init_bound = bound},
        name, "weight", weight));
    return sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {out}, .init_bound = bound}, name, "bias",
                                 bias);
}

sd_status sd_linear_init(sd_network *network, sd_linear *layer, const char *name, int in, int out,
                         float init_deviation) {
    layer->in = in;
    layer->out = out;
    sd_network_want_scratch(network, sd_linear_scratch_elems(in, out, network->threads));
    return add_tensors(network, name, in, out, init_deviation, &layer->weight, &layer->bias);
}

sd_status sd_linear_widen(sd_network *network, sd_linear *layer, const char *name, int out, float init_deviation) {
    sd_tensor *weight = layer->weight, *bias = layer->bias, *more_weight, *more_bias;
    for (; weight->next; weight = weight->next)
        bias = bias->next;
    layer->out += out;
    sd_network_want_scratch(network, sd_linear_scratch_elems(layer->in, layer->out, network->threads));
    SD_TRY(add_tensors(network, name, layer->in, out, init_deviation, &more_weight, &more_bias));
    SD_TRY(sd_network_join(weight, more_weight));
    return sd_network_join(bias, more_bias);
}

void sd_linear_forward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x,
                       const sd_map *x_map, float *y, const sd_map *y_map) {
    context->k->linear_forward(rows, layer->in, layer->out, x, x_map, sd_value(context, layer->weight),
                               sd_value(context, layer->bias), y, y_map, context->scratch);
}

void sd_linear_backward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x,
                        const sd_map *x_map, const float *dy, const sd_map *dy_map, float *dx, const sd_map *dx_map) {
    context->k->linear_backward(rows, layer->in, layer->out, x, x_map, dy, dy_map, sd_value(context, layer->weight), dx,
                                dx_map, sd_gradient(context, layer->weight), sd_gradient(context, layer->bias),
                                context->scratch);
}

sd_status sd_linear_describe(const sd_linear *layer, sd_graph *graph, int *value) {
    const int x = *value;
    sd_shape out = sd_graph_shape(graph, x);
    const sd_tensor *bias = layer->bias;
    out.c = 0;
    for (const sd_tensor *weight = layer->weight; weight; weight = weight->next, bias = bias->next) {
        sd_op linear = {.kind = SD_OP_LINEAR, .out = out, .weight = weight, .bias = bias};
        int part = x;
        linear.out.c = weight->shape[0];
        out.c += weight->shape[0];
        SD_TRY(sd_graph_add(graph, linear, weight == layer->weight ? value : &part));
        if (weight != layer->weight)
            SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_JOIN, .out = out, .other = part}, value));
    }
    return SD_OK;
}
