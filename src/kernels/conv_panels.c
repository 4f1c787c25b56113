/* SPDX-License-Identifier: Apache-2.0 */
/* Direct convolution of any shape as a product of two packed matrices, a panel of the im2col matrix at a time.
 *
 * All three passes iterate over a grid of pixels, each with a list of taps in another image (struct gather). The taps
 * of a panel of pixels are packed (tile.h), with zeros outside the image. HWIO weights are the right-hand matrix [tap *
 * channel][k].
 *
 *     forward           grid = output pixels; taps into x;  y[pixel, k] = A[pixel, tap*c] B[tap*c, k]
 *     backward data     grid = input pixels of one phase (h mod stride, w mod stride); taps into dy; B transposed
 *     backward weights  grid = output pixels; dw[tap*c, k] = A^T[tap*c, pixel] dy[pixel, k] */
#include <string.h>

#include "conv_layout.h"
#include "operand.h"
#include "tile.h"

/* Packs slices [slice0, slice1) of grid pixels (i, j0 ... j0 + run - 1) of one image: to[slice - slice0][pixel][16].
 * Channels are whole slices, so a slice belongs to one tap. */
static void gather_run(const gather *g, const sd_operand *x, size_t image, int i, int j0, int run, int slice0,
                       int slice1, float *to, size_t slice_elems) {
    const int slices_per_tap = g->in_c / SLICE;
    const size_t pixel_elems = (size_t)g->in_c;
    for (int slice = slice0, t = slice0 / slices_per_tap; slice < slice1; t++) {
        const int end_of_tap = (t + 1) * slices_per_tap < slice1 ? (t + 1) * slices_per_tap : slice1;
        const int h = i * g->step + g->tap_h[t], w0 = j0 * g->step + g->tap_w[t];
        int begin = 0, end = h >= 0 && h < g->in_h ? run : 0; /* pixels whose tap lies inside the image */
        while (begin < end && w0 + begin * g->step < 0)
            begin++;
        while (end > begin && w0 + (end - 1) * g->step >= g->in_w)
            end--;
        const int slices = end_of_tap - slice;
        for (int i = 0; i < slices; i++) {
            memset(to + (size_t)i * slice_elems, 0, (size_t)begin * SLICE * sizeof(float));
            memset(to + (size_t)i * slice_elems + (size_t)end * SLICE, 0, (size_t)(run - end) * SLICE * sizeof(float));
        }
        if (begin < end) {
            const size_t channel = (size_t)(slice - t * slices_per_tap) * SLICE;
            const size_t pixel = (size_t)h * (size_t)g->in_w + (size_t)(w0 + begin * g->step);
            operand_slices(x, image + pixel * pixel_elems + channel, (size_t)g->step * pixel_elems, channel, slices,
                           end - begin, to + (size_t)begin * SLICE, slice_elems);
        }
        slice += slices;
        to += (size_t)slices * slice_elems;
    }
}

/* Evaluates x [at, at + n), all channels of adjacent pixels. `to` has room for one more vector. */
static inline void copy_values(const sd_operand *x, size_t at, size_t n, size_t x_elems, size_t channels, float *to) {
    if (operand_is_plain(x) && at + n + VL <= x_elems) {
        for (size_t i = 0; i < n; i += VL)
            store(to + i, load(x->u + at + i));
        return;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = operand_value(x, at + i, (at + i) % channels);
}

/* Copies `taps` taps of one pixel, adjacent in an image row; the first is image pixel (h, w). */
static inline void gather_taps(const gather *g, const sd_operand *x, size_t image, int h, int w, int taps, float *to) {
    const size_t channels = (size_t)g->in_c, x_elems = (size_t)g->images * (size_t)(g->in_h * g->in_w) * channels;
    const size_t first = image + (size_t)(h * g->in_w + w) * channels;
    if (h >= 0 && h < g->in_h && w >= 0 && w + taps <= g->in_w) {
        copy_values(x, first, (size_t)taps * channels, x_elems, channels, to);
        return;
    }
    int begin = w < 0 ? -w : 0, end = g->in_w - w < taps ? g->in_w - w : taps;
    if (h < 0 || h >= g->in_h || begin >= end)
        begin = end = taps;
    memset(to, 0, (size_t)begin * channels * sizeof(float));
    if (begin < end)
        copy_values(x, first + (size_t)begin * channels, (size_t)(end - begin) * channels, x_elems, channels,
                    to + (size_t)begin * channels);
    memset(to + (size_t)end * channels, 0, (size_t)(taps - end) * channels * sizeof(float));
}

/* gather_run() for any number of channels: first assembles rows [pixel][tap * in_c + channel] in `room`. */
static void gather_run_any(const gather *g, const sd_operand *x, size_t image, int i, int j0, int run, int slice0,
                           int slice1, float *to, size_t slice_elems, float *room) {
    const size_t rows = (size_t)g->taps * (size_t)g->in_c, padded = panel_slices(rows) * SLICE;
    const size_t pitch = conv_row_pitch(rows);
    for (int t = 0, next; t < g->taps; t = next) {
        for (next = t + 1; next < g->taps && g->tap_h[next] == g->tap_h[t] && g->tap_w[next] == g->tap_w[next - 1] + 1;)
            next++;
        for (int p = 0; p < run; p++)
            gather_taps(g, x, image, i * g->step + g->tap_h[t], (j0 + p) * g->step + g->tap_w[t], next - t,
                        room + (size_t)p * pitch + (size_t)(t * g->in_c));
    }
    for (int p = 0; p < run; p++) {
        float *row = room + (size_t)p * pitch;
        for (size_t e = rows; e < padded; e++)
            row[e] = 0;
        for (int slice = slice0; slice < slice1; slice++)
            for (int v = 0; v < SLICE; v += VL)
                store(to + (size_t)(slice - slice0) * slice_elems + (size_t)(p * SLICE + v),
                      load(row + (size_t)slice * SLICE + v));
    }
}

/* Packs slices [slice0, slice1) of the taps of grid pixels [first, first + count): panel[slice - slice0][pixel][16]. */
static void pack_panel(const gather *g, const sd_operand *x, size_t first, int count, int panel_pixels, int slice0,
                       int slice1, float *panel, float *room) {
    const size_t slice_elems = (size_t)panel_pixels * SLICE;
    const size_t image_elems = (size_t)g->in_h * (size_t)g->in_w * (size_t)g->in_c;
    for (int pixel = 0, run; pixel < count; pixel += run) {
        const size_t at = first + (size_t)pixel;
        const int j0 = (int)(at % (size_t)g->grid_w), i = (int)(at / (size_t)g->grid_w % (size_t)g->grid_h);
        const size_t image = at / ((size_t)g->grid_w * (size_t)g->grid_h) * image_elems;
        float *to = panel + (size_t)pixel * SLICE;
        run = g->grid_w - j0 < count - pixel ? g->grid_w - j0 : count - pixel;
        if (g->in_c % SLICE == 0) {
            gather_run(g, x, image, i, j0, run, slice0, slice1, to, slice_elems);
        } else {
            run = run < ROOM_PIXELS ? run : ROOM_PIXELS;
            gather_run_any(g, x, image, i, j0, run, slice0, slice1, to, slice_elems, room);
        }
    }
}

/* out[pixel] = A[pixel] B for all pixels of the grid, B packed. epilogue may be NULL. */
static void gather_multiply(const gather *g, const sd_operand *in, size_t columns, float *out, const scatter *to,
                            const sd_epilogue *epilogue, const product_scratch *s, int threads) {
    const size_t rows = (size_t)g->taps * (size_t)g->in_c;
    const size_t pixels = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w;
    const int slices = (int)panel_slices(rows);
    const panel_cut cut = conv_cut_panels(rows, columns, pixels);
    const size_t slice_elems = (size_t)cut.pixels * SLICE;
    const size_t n_panels = (pixels + (size_t)cut.pixels - 1) / (size_t)cut.pixels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t n = 0; n < n_panels; n++) {
        const size_t first = n * (size_t)cut.pixels;
        const int count = pixels - first < (size_t)cut.pixels ? (int)(pixels - first) : cut.pixels;
        float *panel = own(&s->panels), *room = own(&s->rooms);
        size_t offset[MAX_PANEL_PIXELS];
        scatter_offsets(g, to, first, count, columns, offset);
        for (int slice = 0; slice < slices; slice += cut.slices) {
            const int end = slices - slice < cut.slices ? slices : slice + cut.slices;
            pack_panel(g, in, first, count, cut.pixels, slice, end, panel, room);
            panel_multiply_chunk(panel, slice_elems, end - slice, s->packed, slice, slices, columns, count, offset,
                                 out);
        }
        finish_piece(epilogue, first, (size_t)count, (int)columns, out, n, s->partials);
    }
    fold_pieces(epilogue, n_panels, (int)columns, s->partials);
}

void conv_panels_forward(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                         const sd_epilogue *epilogue, sd_scratch scratch) {
    const product_scratch s = conv_forward_product_layout(conv, scratch);
    const size_t k = (size_t)conv->k;
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    const size_t rows = (size_t)g.taps * (size_t)g.in_c;
    pack_b(w, rows, k, k, 1, 0, panel_slices(rows) * SLICE, s.packed);
    gather_multiply(&g, x, k, y, &to, epilogue, &s, scratch.threads);
}

static void backward_data(const sd_conv2d *conv, const sd_operand *dy, const float *w, float *dx,
                          const sd_epilogue *epilogue, sd_scratch scratch) {
    const product_scratch s = conv_backward_product_layout(conv, scratch);
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    const size_t pixels = (size_t)conv->images * (size_t)conv->h * (size_t)conv->w;
    for (int phase = 0; phase < conv->stride * conv->stride; phase++) {
        gather g;
        scatter to;
        int tap[SD_CONV2D_MAX_TAPS];
        gather_for_backward_data(conv, phase / conv->stride, phase % conv->stride, &g, &to, tap);
        if (g.grid_h <= 0 || g.grid_w <= 0)
            continue;
        if (g.taps == 0) { /* pixels that no output depends on */
            scatter_zeros(&g, &to, c, dx);
            continue;
        }
        const size_t rows = (size_t)g.taps * k;
        for (size_t t = 0; t < (size_t)g.taps; t++) /* B[tap * k][c] = w[tap][c][k] */
            pack_b(w + (size_t)tap[t] * c * k, k, c, 1, k, t * k, panel_slices(rows) * SLICE, s.packed);
        gather_multiply(&g, dy, c, dx, &to, conv->stride == 1 ? epilogue : NULL, &s, scratch.threads);
    }
    if (epilogue && conv->stride > 1) /* phases interleave in dx */
        SD_ISA_NAME(apply_epilogue)(pixels, conv->c, dx, epilogue, scratch);
}

/* dw[row, o] += sum over pixels of a panel of x gradient, for slices [slice0, slice1) of rows. gradient:
 * [pixel][columns]. */
static void add_weights(const gather *g, const sd_operand *x, size_t first, int count, int slice0, int slice1,
                        const float *gradient, size_t columns, float *panel, float *room, float *dw, size_t k) {
    const size_t rows = (size_t)g->taps * (size_t)g->in_c, row0 = (size_t)slice0 * SLICE;
    const size_t block_rows = ((size_t)slice1 * SLICE < rows ? (size_t)slice1 * SLICE : rows) - row0;
    pack_panel(g, x, first, count, WEIGHT_PANEL_PIXELS, slice0, slice1, panel, room);
    panel_multiply_transposed(panel, WEIGHT_PANEL_PIXELS * SLICE, block_rows, gradient, columns, columns, k, count,
                              dw + row0 * k);
}

/* Adds a panel of pixels to columns [column, column + columns) of dw: evaluates dy, then multiplies it with slices of
 * x. */
static void add_panel(const gather *g, const sd_operand *x, const sd_operand *dy, size_t panel, size_t column, size_t k,
                      const weights_scratch *s, float *dw) {
    const size_t first = panel * WEIGHT_PANEL_PIXELS,
                 columns = k - column < WEIGHT_COLUMNS ? k - column : WEIGHT_COLUMNS;
    const size_t left = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w - first;
    const int count = left < WEIGHT_PANEL_PIXELS ? (int)left : WEIGHT_PANEL_PIXELS;
    const conv_share blocks = conv_part_of(&s->chunks, (count + EVALUATED_PIXELS - 1) / EVALUATED_PIXELS);
    const conv_share slices = conv_part_of(&s->chunks, (int)panel_slices((size_t)g->taps * (size_t)g->in_c));
    float *gradient = own(&s->gradients), *room = own(&s->rooms);
    for (int block = blocks.begin; block < blocks.end; block++) {
        const int p = block * EVALUATED_PIXELS, some = count - p < EVALUATED_PIXELS ? count - p : EVALUATED_PIXELS;
        evaluate_block(dy, first + (size_t)p, (size_t)some, k, column, columns, gradient + (size_t)p * columns);
    }
    conv_wait(&s->chunks);
    for (int slice = slices.begin; slice < slices.end; slice += WEIGHT_BLOCK_SLICES)
        add_weights(g, x, first, count, slice,
                    slices.end - slice < WEIGHT_BLOCK_SLICES ? slices.end : slice + WEIGHT_BLOCK_SLICES, gradient,
                    columns, own(&s->panels), room, dw + column, k);
    conv_wait(&s->chunks);
}

/* dw, in chunks of panels (conv_chunks.h). */
static void backward_weights(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, float *dw,
                             sd_scratch scratch) {
    const weights_scratch s = conv_weights_layout(conv, scratch);
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    const size_t k = (size_t)conv->k, elems = (size_t)g.taps * (size_t)g.in_c * k;
    memset(dw, 0, elems * sizeof(float));
    memset(s.dw, 0, (size_t)(s.chunks.count - 1) * elems * sizeof(float));
#pragma omp parallel num_threads(scratch.threads)
    {
        const conv_share mine = conv_chunks_of_thread(&s.chunks);
        for (int n = mine.begin; n < mine.end; n++)
            for (size_t column = 0; column < k; column += WEIGHT_COLUMNS)
                for (long panel = conv_first_piece(&s.chunks, n); panel < conv_first_piece(&s.chunks, n + 1); panel++)
                    add_panel(&g, x, dy, (size_t)panel, column, k, &s, conv_chunk_gradient(n, elems, dw, s.dw));
#pragma omp barrier
        add_chunks(&s.chunks, elems, dw, s.dw);
    }
}

void conv_panels_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                          float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    backward_weights(conv, x, dy, dw, scratch);
    if (dx)
        backward_data(conv, dy, w, dx, epilogue, scratch);
}
