/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"
#include "network.h"

sd_status sd_layernorm_init(sd_network *network, sd_layernorm *layer, const char *name, size_t rows, int c,
                            float epsilon) {
    layer->c = c;
    layer->epsilon = epsilon;
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {c}, .init_mean = 1}, name, "weight",
                                 &layer->gamma));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {c}}, name, "bias", &layer->beta));
    rows *= (size_t)network->spec.max_images;
    SD_TRY(sd_arena_reserve(&network->arena, &layer->mean, rows));
    SD_TRY(sd_arena_reserve(&network->arena, &layer->rstd, rows));
    sd_network_want_scratch(network, sd_norm_scratch_elems(rows, c));
    return SD_OK;
}

sd_map sd_layernorm_map(const sd_layernorm *layer, const sd_context *context) {
    return (sd_map){.kind = SD_MAP_NORMALISE,
                    .mean = layer->mean,
                    .rstd = layer->rstd,
                    .gamma = sd_value(context, layer->gamma),
                    .beta = sd_value(context, layer->beta)};
}

sd_map sd_layernorm_forward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x) {
    context->k->layernorm_statistics(rows, layer->c, x, layer->epsilon, layer->mean, layer->rstd);
    return sd_layernorm_map(layer, context);
}

void sd_layernorm_backward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x, const float *dy,
                           const float *add, float *dx) {
    context->k->layernorm_backward(rows, layer->c, x, dy, sd_value(context, layer->gamma), layer->mean, layer->rstd,
                                   add, dx, sd_gradient(context, layer->gamma), sd_gradient(context, layer->beta),
                                   context->scratch);
}

sd_status sd_layernorm_describe(const sd_layernorm *layer, sd_graph *graph, int *value) {
    const sd_op norm = {
        .kind = SD_OP_LAYERNORM, .weight = layer->gamma, .bias = layer->beta, .epsilon = layer->epsilon};
    return sd_graph_add(graph, norm, value);
}
