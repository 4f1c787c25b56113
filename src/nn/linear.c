#include <math.h>

#include "network.h"

sd_status sd_linear_init(sd_network *network, sd_linear *layer, const char *name, int in, int out,
                         float init_deviation) {
    layer->in = in;
    layer->out = out;
    float bound = init_deviation > 0 ? 0 : 1.0f / sqrtf((float)in);
    SD_TRY(sd_network_add_tensor(
        network,
        (sd_tensor){
            .dims = 2, .shape = {out, in}, .matrix = true, .init_deviation = init_deviation, .init_bound = bound},
        name, "weight", &layer->weight));
    return sd_network_add_tensor(network, (sd_tensor){.dims = 1, .shape = {out}, .init_bound = bound}, name, "bias",
                                 &layer->bias);
}

void sd_linear_forward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x, float *y) {
    context->k->linear_forward(rows, layer->in, layer->out, x, layer->weight->value, layer->bias->value, y);
}

void sd_linear_backward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x, const float *dy,
                        float *dx) {
    context->k->linear_backward_weights(rows, layer->in, layer->out, x, dy, layer->weight->gradient,
                                        layer->bias->gradient, context->scratch);
    context->k->linear_backward_data(rows, layer->in, layer->out, dy, layer->weight->value, dx);
}
