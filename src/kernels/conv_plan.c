/* SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>
#include <string.h>

#include "conv.h"
#include "winograd.h"

int sd_conv2d_out_h(const sd_conv2d *conv) { return (conv->h + 2 * conv->pad - conv->r) / conv->stride + 1; }

int sd_conv2d_out_w(const sd_conv2d *conv) { return (conv->w + 2 * conv->pad - conv->s) / conv->stride + 1; }

conv_share conv_share_of(int n) {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    return (conv_share){(int)((long long)n * thread / threads), (int)((long long)n * (thread + 1) / threads)};
}

/* ---- the choice ---- */

enum { MIN_WINOGRAD_CHANNELS = 16, MAX_WINOGRAD_CHANNELS = 256, MIN_ROWS_WIDTH = 7 };

/* Measured (tests/bench/LOG.md): transforms pay from 16 channels on; with many channels only if the transform of the
 * weights is amortised over many tiles. */
static bool winograd_pays(const sd_conv2d *conv) {
    const int least = conv->c < conv->k ? conv->c : conv->k, most = conv->c < conv->k ? conv->k : conv->c;
    const long tiles = (long)conv->images * ((conv->h + WINOGRAD_TILE - 1) / WINOGRAD_TILE) *
                       ((conv->w + WINOGRAD_TILE - 1) / WINOGRAD_TILE);
    return least >= MIN_WINOGRAD_CHANNELS && most <= MAX_WINOGRAD_CHANNELS && conv->h >= WINOGRAD_TILE &&
           conv->w >= WINOGRAD_TILE && conv->w <= WINOGRAD_MAX_TILES * WINOGRAD_TILE && tiles >= most / 4;
}

static bool is_pointwise(const sd_conv2d *conv) {
    return conv->r == 1 && conv->s == 1 && conv->stride == 1 && conv->pad == 0;
}

/* Whether weights do not fit a core's own cache beside the data. */
static bool are_large(size_t rows, size_t columns) {
    enum { LARGE_WEIGHTS_BYTES = 512 * 1024 };
    return rows * columns * sizeof(float) > LARGE_WEIGHTS_BYTES;
}

conv_algorithm conv_choose(const sd_conv2d *conv) {
    const bool small = conv->r == 3 && conv->s == 3 && conv->stride == 1 && conv->pad == 1 && conv->c % SLICE == 0 &&
                       conv->k % SLICE == 0;
    if (small && !conv->direct && winograd_pays(conv))
        return CONV_WINOGRAD;
    if (is_pointwise(conv) && conv->c % SLICE == 0 && conv->k % SLICE == 0 &&
        !are_large((size_t)conv->c, (size_t)conv->k))
        return CONV_POINTWISE;
    return small && !(are_large(9 * (size_t)conv->c, (size_t)conv->k) && conv->w < BAND_SINGLE_ROW_WIDTH) &&
                   conv->w >= MIN_ROWS_WIDTH && conv->h >= 2
               ? CONV_ROWS
               : CONV_PANELS;
}

conv3x3 conv3x3_forward(const sd_conv2d *conv, const float *w) {
    return (conv3x3){.images = conv->images,
                     .h = conv->h,
                     .w = conv->w,
                     .in = conv->c,
                     .out = conv->k,
                     .weights = w,
                     .in_stride = (size_t)conv->k,
                     .out_stride = 1};
}

conv3x3 conv3x3_backward_data(const sd_conv2d *conv, const float *w) {
    return (conv3x3){.images = conv->images,
                     .h = conv->h,
                     .w = conv->w,
                     .in = conv->k,
                     .out = conv->c,
                     .weights = w,
                     .in_stride = 1,
                     .out_stride = (size_t)conv->k,
                     .turned = true};
}

/* ---- bands ---- */

enum {
    BAND_BYTES = 96 * 1024,
    LARGE_BAND_BYTES = 640 * 1024,
};

band_plan band_plan_of(int images, int h, int w, int channels, size_t weights_bytes) {
    const size_t bytes = are_large(1, weights_bytes / sizeof(float)) ? LARGE_BAND_BYTES : BAND_BYTES;
    const size_t rows = bytes / ((size_t)(w + 2) * (size_t)channels * sizeof(float)), image_rows = (size_t)h + 2;
    band_plan p = {.all_images = images, .h = h, .w = w, .images = 1, .rows = h};
    if (rows >= 2 * image_rows)
        p.images = rows / image_rows < (size_t)images ? (int)(rows / image_rows) : images;
    else if (rows < image_rows && w >= BAND_SINGLE_ROW_WIDTH)
        p.rows = rows < 4 ? 2 : (int)rows - 2;
    p.pieces_per_image = (h + p.rows - 1) / p.rows;
    p.pieces = p.images > 1 ? (images + p.images - 1) / p.images : (long)images * p.pieces_per_image;
    p.row_elems = (size_t)(w + 2) * SLICE;
    p.image_elems = (size_t)(p.rows + 2) * p.row_elems;
    p.slice_elems = (size_t)p.images * p.image_elems;
    return p;
}

band_piece band_piece_at(const band_plan *p, long n) {
    if (p->images > 1) {
        const int first = (int)n * p->images;
        return (band_piece){first, p->all_images - first < p->images ? p->all_images - first : p->images, 0, p->h};
    }
    const int row = (int)(n % p->pieces_per_image) * p->rows;
    return (band_piece){(int)(n / p->pieces_per_image), 1, row, p->h - row < p->rows ? p->h - row : p->rows};
}

/* ---- panels ---- */

enum {
    PANEL_BYTES = 96 * 1024,
    CHUNK_SLICES = 16,            /* of large weights at a time, so that a panel can have many pixels */
    POINTWISE_BYTES = 640 * 1024, /* packed by a pointwise backward pass at a time */
};

panel_cut conv_cut_panels(size_t rows, size_t columns, size_t pixels) {
    const int slices = (int)panel_slices(rows);
    if (are_large(rows, columns)) {
        const size_t panels = (pixels + MAX_PANEL_PIXELS - 1) / MAX_PANEL_PIXELS, even = (pixels + panels - 1) / panels;
        return (panel_cut){(int)((even + MIN_PANEL_PIXELS - 1) / MIN_PANEL_PIXELS * MIN_PANEL_PIXELS),
                           slices < CHUNK_SLICES ? slices : CHUNK_SLICES};
    }
    const size_t fit = PANEL_BYTES / ((size_t)slices * SLICE * sizeof(float)) / MIN_PANEL_PIXELS * MIN_PANEL_PIXELS;
    return (panel_cut){fit < MIN_PANEL_PIXELS   ? MIN_PANEL_PIXELS
                       : fit > MAX_PANEL_PIXELS ? MAX_PANEL_PIXELS
                                                : (int)fit,
                       slices};
}

size_t conv_pointwise_pixels(const sd_conv2d *conv) {
    const size_t pixel_bytes = ((size_t)conv->c + 2 * (size_t)conv->k) * sizeof(float);
    const size_t fit = POINTWISE_BYTES / pixel_bytes / MIN_PANEL_PIXELS * MIN_PANEL_PIXELS;
    return fit < MIN_PANEL_PIXELS ? MIN_PANEL_PIXELS : fit > MAX_PANEL_PIXELS ? MAX_PANEL_PIXELS : fit;
}

/* For a 1x1 convolution of stride 1 all pixels are one long row. */
static void flatten(gather *g, scatter *to) {
    g->grid_w = g->in_w = g->images * g->grid_h * g->grid_w;
    g->images = g->grid_h = g->in_h = 1;
    *to = (scatter){.h = 1, .w = g->grid_w, .step = 1};
}

void gather_for_forward(const sd_conv2d *conv, gather *g, scatter *to) {
    *g = (gather){.images = conv->images,
                  .grid_h = sd_conv2d_out_h(conv),
                  .grid_w = sd_conv2d_out_w(conv),
                  .in_h = conv->h,
                  .in_w = conv->w,
                  .in_c = conv->c,
                  .step = conv->stride};
    for (int r = 0; r < conv->r; r++)
        for (int s = 0; s < conv->s; s++) {
            g->tap_h[g->taps] = r - conv->pad;
            g->tap_w[g->taps++] = s - conv->pad;
        }
    *to = (scatter){.h = g->grid_h, .w = g->grid_w, .step = 1};
    if (is_pointwise(conv))
        flatten(g, to);
}

void gather_for_backward_data(const sd_conv2d *conv, int phase_h, int phase_w, gather *g, scatter *to, int *tap) {
    const int stride = conv->stride;
    *g = (gather){.images = conv->images,
                  .grid_h = (conv->h - phase_h + stride - 1) / stride,
                  .grid_w = (conv->w - phase_w + stride - 1) / stride,
                  .in_h = sd_conv2d_out_h(conv),
                  .in_w = sd_conv2d_out_w(conv),
                  .in_c = conv->k,
                  .step = 1};
    *to = (scatter){.h = conv->h, .w = conv->w, .h0 = phase_h, .w0 = phase_w, .step = stride};
    /* Input row h = phase + stride * i is tap r of output row (h + pad - r) / stride, if that is an integer. */
    for (int r = 0; r < conv->r; r++)
        for (int s = 0; s < conv->s; s++) {
            int h = phase_h + conv->pad - r, w = phase_w + conv->pad - s;
            if (h % stride == 0 && w % stride == 0) {
                tap[g->taps] = r * conv->s + s;
                g->tap_h[g->taps] = h / stride;
                g->tap_w[g->taps++] = w / stride;
            }
        }
    if (is_pointwise(conv))
        flatten(g, to);
}

static size_t scatter_offset(const gather *g, const scatter *to, size_t pixel, size_t columns) {
    size_t j = pixel % (size_t)g->grid_w, i = pixel / (size_t)g->grid_w % (size_t)g->grid_h;
    size_t image = pixel / ((size_t)g->grid_w * (size_t)g->grid_h);
    size_t h = i * (size_t)to->step + (size_t)to->h0, w = j * (size_t)to->step + (size_t)to->w0;
    return ((image * (size_t)to->h + h) * (size_t)to->w + w) * columns;
}

void scatter_offsets(const gather *g, const scatter *to, size_t first, int count, size_t columns, size_t *offset) {
    for (int p = 0; p < count; p++)
        offset[p] = to->step == 1 ? (first + (size_t)p) * columns : scatter_offset(g, to, first + (size_t)p, columns);
}

void scatter_zeros(const gather *g, const scatter *to, size_t columns, float *out) {
    size_t pixels = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w;
    for (size_t p = 0; p < pixels; p++)
        memset(out + scatter_offset(g, to, p, columns), 0, columns * sizeof(float));
}
