/* SPDX-License-Identifier: Apache-2.0 */
#include "layer.h"
#include "network.h"

void sd_dropout_init(sd_network *network, sd_dropout_layer *layer, double rate) {
    *layer = (sd_dropout_layer){.rate = rate, .site = network->n_dropouts++};
}

sd_dropout sd_dropout_of(const sd_dropout_layer *layer, const sd_context *context) {
    const sd_pass *pass = context->pass;
    return (sd_dropout){.rate = pass->training ? (float)layer->rate : 0,
                        .seed = pass->seed,
                        .step = pass->step,
                        .site = layer->site,
                        .first_image = pass->first_image,
                        .places = context->places};
}

sd_map sd_dropout_map(const sd_dropout *dropout, sd_shape shape, sd_map map) {
    if (dropout->rate > 0) {
        map.dropout = dropout;
        map.image_rows = shape.h * shape.w;
    }
    return map;
}
