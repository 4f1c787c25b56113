/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the convolution algorithms. Their choice, and the cutting of work, depend on the shape alone
 * (conv_plan.c). */
#ifndef SDTRAIN_KERNELS_CONV_H
#define SDTRAIN_KERNELS_CONV_H

#include "epilogue.h"
#include "panel.h"

typedef enum conv_algorithm {
    CONV_PANELS,    /* any shape: packs the taps of panels of pixels (conv_panels.c) */
    CONV_ROWS,      /* 3x3, stride 1: bands of rows (conv_rows.c) */
    CONV_POINTWISE, /* 1x1, stride 1, small weights: forward as panels (conv_pointwise.c) */
    CONV_WINOGRAD,  /* 3x3, stride 1: F(4x4, 3x3) (conv_winograd.c) */
} conv_algorithm;

conv_algorithm conv_choose(const sd_conv2d *conv);

/* The calling thread's share of n tasks. */
typedef struct conv_share {
    int begin, end;
} conv_share;
conv_share conv_share_of(int n);

/* ---- panels ---- */

enum {
    MAX_PANEL_PIXELS = 336, /* a multiple of every tile's pixels: 14 and 6 */
    MIN_PANEL_PIXELS = 42,
    WEIGHT_BLOCK_SLICES = 10,  /* backward weights: slices a thread packs at a time ... */
    WEIGHT_PANEL_PIXELS = 336, /* ... of this many pixels ... */
    WEIGHT_COLUMNS = 512,      /* ... and evaluated outputs */
    EVALUATED_PIXELS = 48,     /* by a thread at a time */
};

/* A grid of pixels with `taps` taps each in an image: tap t of grid pixel (i, j) is image pixel (i * step + tap_h[t], j
 * * step + tap_w[t]), zero outside. */
typedef struct gather {
    int images, grid_h, grid_w;
    int in_h, in_w, in_c;
    int step;
    int taps, tap_h[SD_CONV2D_MAX_TAPS], tap_w[SD_CONV2D_MAX_TAPS];
} gather;

/* The result of grid pixel (i, j) is pixel (i * step + h0, j * step + w0) of an [h, w] image. */
typedef struct scatter {
    int h, w, h0, w0, step;
} scatter;

void gather_for_forward(const sd_conv2d *conv, gather *g, scatter *to);

/* The grid of input pixels with h % stride == phase_h, w % stride == phase_w. tap[t]: index r * S + s of tap t's
 * weight. */
void gather_for_backward_data(const sd_conv2d *conv, int phase_h, int phase_w, gather *g, scatter *to, int *tap);

/* The offsets in floats of count grid pixels in a result of `columns` columns; and writing zeros to all grid pixels. */
void scatter_offsets(const gather *g, const scatter *to, size_t first, int count, size_t columns, size_t *offset);
void scatter_zeros(const gather *g, const scatter *to, size_t columns, float *out);

/* If a pixel's channels are not whole slices, the rows of some pixels are first assembled in a room: its row pitch, and
 * its floats. rows: taps * channels. */
enum { ROOM_PIXELS = 64 };
static inline size_t conv_row_pitch(size_t rows) { return (panel_slices(rows) + 1) * SLICE; }
static inline size_t conv_room_elems(size_t rows, int channels) {
    return channels % SLICE == 0 ? 0 : ROOM_PIXELS * conv_row_pitch(rows);
}

/* The cut of a product of [pixels, rows] by [rows, columns]: pixels of a panel, and slices of rows packed at a time. */
typedef struct panel_cut {
    int pixels, slices;
} panel_cut;
panel_cut conv_cut_panels(size_t rows, size_t columns, size_t pixels);

/* Pixels of a pointwise backward pass's panel. */
size_t conv_pointwise_pixels(const sd_conv2d *conv);

/* ---- 3x3, stride 1, padding 1 ---- */

/* Forward; or backward data, as a forward pass with weights rotated by 180 degrees and in and out exchanged: out[o] at
 * a pixel = sum over i, r, s of in[i] at (r - 1, s - 1) * weight(r, s, i, o). */
typedef struct conv3x3 {
    int images, h, w, in, out;
    const float *weights; /* [3, 3, ., .]: weight(r, s, i, o) = weights[tap][i * in_stride + o * out_stride] */
    size_t in_stride, out_stride;
    bool turned; /* tap = 8 - (3 r + s) instead of 3 r + s */
} conv3x3;

conv3x3 conv3x3_forward(const sd_conv2d *conv, const float *w);
conv3x3 conv3x3_backward_data(const sd_conv2d *conv, const float *w);

static inline const float *conv3x3_tap(const conv3x3 *conv, int tap) {
    return conv->weights + (size_t)(conv->turned ? 8 - tap : tap) * (size_t)conv->in * (size_t)conv->out;
}

/* A band: consecutive rows of an image, evaluated, with a border of zeros, in slices of 16 channels:
 * band[slice][row][column][16]; row 0 and column 0 lie one above and one left of the first pixel. */
typedef struct band_shape {
    int h, w, c;               /* of the image */
    int rows, columns, slices; /* of the band */
    size_t slice_elems;        /* from one slice to the next, at least rows * columns * 16 */
} band_shape;

/* Packs image rows row0 - 1 ... row0 + rows - 2, slices slice0 ... slice0 + slices - 1, with zeros outside the
 * image. */
void pack_band(const band_shape *shape, const sd_operand *x, int image, int row0, int slice0, float *band);

enum { BAND_SINGLE_ROW_WIDTH = 14 }; /* narrower images are not cut, as tiles may have two rows */

/* The cut of images into pieces: some rows of one image each, or some whole images. */
typedef struct band_plan {
    int all_images, h, w;
    int images, rows; /* of a piece */
    int pieces_per_image;
    long pieces;
    size_t row_elems, image_elems, slice_elems; /* strides within a band */
} band_plan;

typedef struct band_piece {
    int image, images, row, rows;
} band_piece;

/* channels: packed together. weights_bytes: large weights get pieces of more pixels. */
band_plan band_plan_of(int images, int h, int w, int channels, size_t weights_bytes);
band_piece band_piece_at(const band_plan *plan, long n);

/* The index of a piece's first pixel, counted over all images; and its number of pixels. */
static inline size_t band_first_pixel(const band_plan *p, const band_piece *at) {
    return ((size_t)at->image * (size_t)p->h + (size_t)at->row) * (size_t)p->w;
}
static inline size_t band_pixels(const band_plan *p, const band_piece *at) {
    return (size_t)at->images * (size_t)at->rows * (size_t)p->w;
}

void conv_panels_forward(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                         const sd_epilogue *epilogue, sd_scratch scratch);
void conv_panels_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                          float *dx, const sd_epilogue *epilogue, sd_scratch scratch);

void conv_pointwise_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w,
                             float *dw, float *dx, const sd_epilogue *epilogue, sd_scratch scratch);

void conv_rows_forward(const conv3x3 *conv, const sd_operand *x, float *y, const sd_epilogue *epilogue,
                       sd_scratch scratch);
void conv_rows_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                        float *dx, const sd_epilogue *epilogue, sd_scratch scratch);

void conv_winograd_forward(const conv3x3 *conv, const sd_operand *x, float *y, const sd_epilogue *epilogue,
                           sd_scratch scratch);
void conv_winograd_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                            float *dx, const sd_epilogue *epilogue, sd_scratch scratch);

#endif
