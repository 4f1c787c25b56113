/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers some images of a batch, or a token of each, and scatters them back. */
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

void sd_gather_lengths(int images, const uint32_t *places, const int32_t *all, int32_t *some) {
    for (int i = 0; i < images; i++)
        some[i] = all[places[i]];
}

void sd_first_tokens(const sd_context *context, sd_shape in, const float *x, float *tokens) {
    const size_t c = (size_t)in.c, elems = sd_shape_elems(in);
    for (size_t n = 0; n < (size_t)context->pass->images; n++)
        memcpy(tokens + n * c, x + n * elems, c * sizeof *tokens);
}

void sd_first_tokens_backward(const sd_context *context, sd_shape in, const float *dtokens, float *dx) {
    const size_t images = (size_t)context->pass->images, c = (size_t)in.c, elems = sd_shape_elems(in);
    memset(dx, 0, images * elems * sizeof *dx);
    for (size_t n = 0; n < images; n++)
        memcpy(dx + n * elems, dtokens + n * c, c * sizeof *dx);
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
