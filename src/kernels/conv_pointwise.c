/* SPDX-License-Identifier: Apache-2.0 */
/* Backward pass of a 1x1 convolution of stride 1 whose weights fit the cache: panel by panel of pixels, dy is evaluated once and
 * serves both products, dw[c, k] += x^T dy and dx = dy w^T. */
#include <string.h>

#include "conv_layout.h"
#include "operand.h"
#include "tile.h"

static void pack_slices(const sd_operand *x, size_t c, size_t first, size_t count, size_t to_pixel, size_t slice_elems,
                        float *to) {
    operand_slices(x, first * c, c, 0, (int)(c / SLICE), (int)count, to + to_pixel * SLICE, slice_elems);
}

/* Pixels [begin, begin + count) of the panel whose first is `first`. */
static void pack_pixels(const pointwise_scratch *s, size_t c, size_t k, const sd_operand *x, const sd_operand *dy,
                        size_t first, size_t begin, size_t count) {
    const size_t slice_elems = s->pixels * SLICE;
    float *rows = s->rows + begin * k;
    const sd_operand evaluated = sd_plain(rows);
    pack_slices(x, c, first + begin, count, begin, slice_elems, s->x);
    evaluate_block(dy, first + begin, count, k, 0, k, rows);
    pack_slices(&evaluated, k, 0, count, begin, slice_elems, s->dy);
}

void conv_pointwise_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w,
                             float *dw, float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    enum { PART_PIXELS = 42, COLUMNS = 32 }; /* a thread packs, and multiplies into, at a time */
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    const size_t all = (size_t)conv->images * (size_t)conv->h * (size_t)conv->w;
    const pointwise_scratch s = conv_pointwise_layout(conv, scratch);
    const size_t slice_elems = s.pixels * SLICE;
    pack_b(w, k, c, 1, k, 0, k, s.weights);
    memset(dw, 0, c * k * sizeof(float));
#pragma omp parallel num_threads(scratch.threads)
    for (size_t first = 0; first < all; first += s.pixels) {
        const size_t count = all - first < s.pixels ? all - first : s.pixels;
#pragma omp for schedule(static)
        for (size_t begin = 0; begin < count; begin += PART_PIXELS)
            pack_pixels(&s, c, k, x, dy, first, begin, count - begin < PART_PIXELS ? count - begin : PART_PIXELS);
#pragma omp for schedule(static) nowait
        for (size_t slice = 0; slice < c / SLICE; slice++) /* dw rows of a slice: summed by one thread, in order */
            panel_multiply_transposed(s.x + slice * slice_elems, slice_elems, SLICE, s.rows, k, k, k, (int)count,
                                      dw + slice * SLICE * k);
        if (!dx) {
#pragma omp barrier
            continue;
        }
#pragma omp for schedule(static)
        for (size_t column = 0; column < c; column += COLUMNS)
            panel_multiply_rows(s.dy, slice_elems, k / SLICE, s.weights + column * k,
                                c - column < COLUMNS ? c - column : COLUMNS, count, dx + first * c + column, c);
#pragma omp single
        finish_piece(epilogue, first, count, conv->c, dx, first / s.pixels, s.partials);
    }
    if (dx)
        fold_pieces(epilogue, (all + s.pixels - 1) / s.pixels, conv->c, s.partials);
}
