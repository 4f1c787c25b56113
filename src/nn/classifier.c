/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"
#include "network.h"
#include "sdtrain/random.h"

sd_status sd_classifier_init(sd_network *network, sd_classifier *layer, const char *name, int in, double dropout,
                             float init_deviation) {
    layer->dropout = dropout;
    SD_TRY(sd_linear_init(network, &layer->linear, name, in, network->spec.classes, init_deviation));
    layer->linear.weight->fit = layer->linear.bias->fit = SD_FIT_CLASSES;
    network->flops += 2.0 * in * network->spec.classes;
    return sd_network_reserve(network, &layer->features, (size_t)in);
}

/* x *= mask / (1-p), one mask bit per feature; the same in forward and backward. */
static void drop_features(const sd_classifier *layer, const sd_pass *pass, float *x) {
    if (!pass->training || layer->dropout <= 0)
        return;
    const size_t c = (size_t)layer->linear.in, first = pass->first_image * c;
    const float scale = (float)(1 / (1 - layer->dropout));
    for (size_t i = 0; i < (size_t)pass->images * c; i++) {
        size_t item = first + i;
        sd_random random = sd_random_at(pass->seed, SD_STREAM_DROPOUT, item / 4, pass->step);
        x[i] = sd_random_uniform(random.word[item % 4]) < layer->dropout ? 0 : x[i] * scale;
    }
}

void sd_classifier_forward(sd_classifier *layer, const sd_context *context, float *logits) {
    drop_features(layer, context->pass, layer->features);
    sd_linear_forward(&layer->linear, context, (size_t)context->pass->images, layer->features, NULL, logits, NULL);
}

void sd_classifier_backward(sd_classifier *layer, const sd_context *context, const float *dlogits, float *dfeatures) {
    sd_linear_backward(&layer->linear, context, (size_t)context->pass->images, layer->features, NULL, dlogits, NULL,
                       dfeatures, NULL);
    drop_features(layer, context->pass, dfeatures);
}

/* Evaluation drops no features. */
sd_status sd_classifier_describe(const sd_classifier *layer, sd_graph *graph, int *value) {
    return sd_linear_describe(&layer->linear, graph, value);
}
