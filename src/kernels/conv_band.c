/* SPDX-License-Identifier: Apache-2.0 */
#include "conv.h"
#include "operand.h"
#include "vec.h"

static inline void set_to_zero(float *to, int pixels) {
    for (int v = 0; v < pixels * SLICE; v += VL)
        store(to + v, (vec){0});
}

void pack_band(const band_shape *shape, const sd_operand *x, int image, int row0, int slice0, float *band) {
    const size_t row_elems = (size_t)shape->columns * SLICE, c = (size_t)shape->c;
    const size_t channel = (size_t)slice0 * SLICE;
    for (int row = 0; row < shape->rows; row++, band += row_elems) {
        const int h = row0 - 1 + row;
        const bool inside = h >= 0 && h < shape->h;
        const int first = inside ? 1 + shape->w : 0; /* columns from here on, and column 0, are zeros */
        for (int slice = 0; slice < shape->slices; slice++) {
            float *to = band + (size_t)slice * shape->slice_elems;
            set_to_zero(to, 1);
            set_to_zero(to + (size_t)first * SLICE, shape->columns - first);
        }
        if (inside)
            operand_slices(x, (size_t)(image * shape->h + h) * (size_t)shape->w * c + channel, c, channel,
                           shape->slices, shape->w, band + SLICE, shape->slice_elems);
    }
}
