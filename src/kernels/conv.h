/* Private to kernels/: the geometry of the convolution passes, without arithmetic (conv_gather.c), shared by all
 * instruction sets. */
#ifndef SDTRAIN_KERNELS_CONV_H
#define SDTRAIN_KERNELS_CONV_H

#include "panel.h"
#include "sdtrain/kernels.h"

enum {
    MAX_PANEL_PIXELS = 336, /* a multiple of every tile's pixels: 14 and 6 */
    MIN_PANEL_PIXELS = 42,
    WEIGHT_BLOCK_SLICES = 9,   /* backward weights: slices a thread packs at a time ... */
    WEIGHT_PANEL_PIXELS = 336, /* ... for so many pixels */
};

/* A grid of pixels, each seeing `taps` pixels of an image: tap t of grid pixel (i, j) is image pixel
 * (i * step + tap_h[t], j * step + tap_w[t]), zero outside. */
typedef struct gather {
    int images, grid_h, grid_w;
    int in_h, in_w, in_c;
    int step;
    int taps, tap_h[SD_CONV2D_MAX_TAPS], tap_w[SD_CONV2D_MAX_TAPS];
} gather;

/* Where grid pixel (i, j) lies in the result: pixel (i * step + h0, j * step + w0) of an [h, w] image. */
typedef struct scatter {
    int h, w, h0, w0, step;
} scatter;

void gather_for_forward(const sd_conv2d *conv, gather *g, scatter *to);

/* Input pixels with h % stride == phase_h, w % stride == phase_w; tap[t] is the index r * S + s of the weight of tap t. */
void gather_for_backward_data(const sd_conv2d *conv, int phase_h, int phase_w, gather *g, scatter *to, int *tap);

/* Copies slices [slice0, slice1) of grid pixels (i, j0 .. j0 + run) of one image to to[slice - slice0][pixel][16], slices
 * slice_elems apart, for any in_c; values past the last are zero. */
void gather_run_any(const gather *g, const float *image, int i, int j0, int run, int slice0, int slice1, float *to,
                    size_t slice_elems);

/* The offset in floats of each of count grid pixels in a result with so many columns; and zeros in all of them. */
void scatter_offsets(const gather *g, const scatter *to, size_t first, int count, size_t columns, size_t *offset);
void scatter_zeros(const gather *g, const scatter *to, size_t columns, float *out);

/* Pixels of a panel whose packed rows have so many values: enough to reuse the weights, few enough for the cache. */
int conv_panel_pixels(size_t row_elems);

/* Slices of dw that are one piece of work: a pure function of their number. */
int conv_weight_block(int slices);

/* The calling thread's number in its team. */
int conv_thread(void);

#endif
