/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

static const float EPSILON = 1e-6f; /* timm's vision transformers */

sd_status sd_layernorm_init(sd_network *network, sd_layernorm *layer, const char *name, size_t rows, int c) {
    layer->c = c;
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {c}, .init_mean = 1}, name, "weight",
                                 &layer->gamma));
    SD_TRY(sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {c}}, name, "bias", &layer->beta));
    rows *= (size_t)network->max_images;
    SD_TRY(sd_arena_reserve(&network->arena, &layer->mean, rows));
    SD_TRY(sd_arena_reserve(&network->arena, &layer->rstd, rows));
    sd_network_want_scratch(network, sd_norm_scratch_elems(rows, c));
    return SD_OK;
}

sd_map sd_layernorm_map(const sd_layernorm *layer) {
    return (sd_map){.kind = SD_MAP_NORMALISE,
                    .mean = layer->mean,
                    .rstd = layer->rstd,
                    .gamma = layer->gamma->value,
                    .beta = layer->beta->value};
}

sd_map sd_layernorm_forward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x) {
    context->k->layernorm_statistics(rows, layer->c, x, EPSILON, layer->mean, layer->rstd);
    return sd_layernorm_map(layer);
}

void sd_layernorm_backward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x, const float *dy,
                           const float *add, float *dx) {
    context->k->layernorm_backward(rows, layer->c, x, dy, layer->gamma->value, layer->mean, layer->rstd, add, dx,
                                   layer->gamma->gradient, layer->beta->gradient, context->scratch);
}
