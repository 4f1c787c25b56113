/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers some images of a batch, and scatters them back. */
#include <string.h>

#include "network.h"

void sd_gather(int images, const uint32_t *places, size_t elems, const float *all, float *some) {
    for (int i = 0; i < images; i++)
        memcpy(some + (size_t)i * elems, all + places[i] * elems, elems * sizeof *some);
}

void sd_scatter(int images, const uint32_t *places, size_t elems, const float *some, float *all) {
    for (int i = 0; i < images; i++)
        memcpy(all + places[i] * elems, some + (size_t)i * elems, elems * sizeof *all);
}

void sd_fill_rest(const sd_context *context, int images, const uint32_t *places, sd_shape shape, const float *from,
                  bool relu, float *to) {
    const size_t pixels = (size_t)shape.h * (size_t)shape.w, elems = sd_shape_elems(shape);
    int next = 0;
    for (uint32_t i = 0; i < (uint32_t)context->pass->images; i++) {
        if (next < images && places[next] == i) {
            next++;
            continue;
        }
        const sd_operand image = {.u = from + i * elems, .relu = relu};
        context->k->store_operand(pixels, shape.c, &image, to + i * elems);
    }
}
