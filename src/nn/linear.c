/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "layer.h"
#include "network.h"

sd_status sd_linear_init(sd_network *network, sd_linear *layer, const char *name, int in, int out,
                         float init_deviation) {
    layer->in = in;
    layer->out = out;
    sd_network_want_scratch(network, sd_linear_scratch_elems(in, out, network->threads));
    float bound = init_deviation > 0 ? 0 : 1.0f / sqrtf((float)in);
    SD_TRY(sd_network_add_tensor(
        network,
        (sd_tensor){
            .dims = 2, .shape = {out, in}, .matrix = true, .init_deviation = init_deviation, .init_bound = bound},
        name, "weight", &layer->weight));
    return sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {out}, .init_bound = bound}, name, "bias",
                                 &layer->bias);
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
    sd_op linear = {.kind = SD_OP_LINEAR, .weight = layer->weight, .bias = layer->bias};
    linear.out = sd_graph_shape(graph, *value);
    linear.out.c = layer->out;
    return sd_graph_add(graph, linear, value);
}
