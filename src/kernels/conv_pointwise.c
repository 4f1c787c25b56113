/* SPDX-License-Identifier: Apache-2.0 */
/* Backward pass of a 1x1 convolution of stride 1 whose weights fit the cache. dy of a panel of pixels is evaluated once
 * for both products, dw[c, k] += x^T dy and dx = dy w^T. */
#include <string.h>

#include "conv_layout.h"
#include "operand.h"
#include "tile.h"

static void pack_slices(const sd_operand *x, size_t c, size_t first, size_t count, size_t to_pixel, size_t slice_elems,
                        float *to) {
    operand_slices(x, first * c, c, 0, (int)(c / SLICE), (int)count, to + to_pixel * SLICE, slice_elems);
}

enum { PART_PIXELS = 42, COLUMNS = 32 }; /* pixels that a thread packs at a time, columns that it computes */

/* The backward pass, in chunks of panels (conv_chunks.h). */
typedef struct backward_pass {
    const sd_conv2d *conv;
    const sd_operand *x, *dy;
    float *dx; /* may be NULL */
    const sd_epilogue *epilogue;
    pointwise_scratch s;
} backward_pass;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t pixels_of(const sd_conv2d *conv) { return (size_t)conv->images * (size_t)conv->h * (size_t)conv->w; }

/* Packs pixels [begin, begin + count) of the panel that begins with pixel `first`. */
static void pack_pixels(const backward_pass *b, const pointwise_panel *panel, size_t first, size_t begin,
                        size_t count) {
    const size_t c = (size_t)b->conv->c, k = (size_t)b->conv->k, slice_elems = b->s.pixels * SLICE;
    float *rows = panel->rows + begin * k;
    const sd_operand evaluated = sd_plain(rows);
    pack_slices(b->x, c, first + begin, count, begin, slice_elems, panel->x);
    evaluate_block(b->dy, first + begin, count, k, 0, k, rows);
    pack_slices(&evaluated, k, 0, count, begin, slice_elems, panel->dy);
}

/* Adds panel n to dw, and writes its dx. */
static void backward_panel(const backward_pass *b, size_t n, float *dw) {
    const conv_chunks *chunks = &b->s.chunks;
    const size_t c = (size_t)b->conv->c, k = (size_t)b->conv->k, slice_elems = b->s.pixels * SLICE;
    const size_t first = n * b->s.pixels, count = least(pixels_of(b->conv) - first, b->s.pixels);
    const pointwise_panel panel = conv_pointwise_panel_layout(b->conv, b->s.pixels, own(&b->s.panels));
    const conv_share parts = conv_part_of(chunks, (int)((count + PART_PIXELS - 1) / PART_PIXELS));
    const conv_share slices = conv_part_of(chunks, b->conv->c / SLICE);
    const conv_share groups = conv_part_of(chunks, (b->conv->c + COLUMNS - 1) / COLUMNS);
    const conv_share end = conv_part_of(chunks, 1);
    for (size_t part = (size_t)parts.begin; part < (size_t)parts.end; part++)
        pack_pixels(b, &panel, first, part * PART_PIXELS, least(count - part * PART_PIXELS, PART_PIXELS));
    conv_wait(chunks);
    for (size_t slice = (size_t)slices.begin; slice < (size_t)slices.end; slice++)
        panel_multiply_transposed(panel.x + slice * slice_elems, slice_elems, SLICE, panel.rows, k, k, k, (int)count,
                                  dw + slice * SLICE * k);
    for (size_t group = (size_t)groups.begin; b->dx && group < (size_t)groups.end; group++) {
        const size_t column = group * COLUMNS;
        panel_multiply_rows(panel.dy, slice_elems, k / SLICE, b->s.weights + column * k, least(c - column, COLUMNS),
                            count, b->dx + first * c + column, c);
    }
    conv_wait(chunks);
    if (b->dx && end.begin < end.end)
        finish_piece(b->epilogue, first, count, b->conv->c, b->dx, n, b->s.partials);
}

static void backward_chunk(const backward_pass *b, int n, float *dw) {
    const size_t slice_weights = SLICE * (size_t)b->conv->k;
    const conv_share slices = conv_part_of(&b->s.chunks, b->conv->c / SLICE);
    memset(dw + (size_t)slices.begin * slice_weights, 0,
           (size_t)(slices.end - slices.begin) * slice_weights * sizeof(float));
    for (long panel = conv_first_piece(&b->s.chunks, n); panel < conv_first_piece(&b->s.chunks, n + 1); panel++)
        backward_panel(b, (size_t)panel, dw);
}

void conv_pointwise_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w,
                             float *dw, float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    const pointwise_scratch s = conv_pointwise_layout(conv, scratch);
    const backward_pass b = {conv, x, dy, dx, epilogue, s};
    pack_b(w, k, c, 1, k, 0, k, s.weights);
#pragma omp parallel num_threads(scratch.threads)
    {
        const conv_share mine = conv_chunks_of_thread(&s.chunks);
        for (int n = mine.begin; n < mine.end; n++)
            backward_chunk(&b, n, conv_chunk_gradient(n, c * k, dw, s.dw));
#pragma omp barrier
        add_chunks(&s.chunks, c * k, dw, s.dw);
    }
    if (dx)
        fold_pieces(epilogue, (size_t)s.chunks.pieces, conv->c, s.partials);
}
