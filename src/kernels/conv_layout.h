/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the scratch (scratch.h) of convolutions, one layout for each pass of each algorithm, for all
 * instruction sets (conv_layout.c). */
#ifndef SDTRAIN_KERNELS_CONV_LAYOUT_H
#define SDTRAIN_KERNELS_CONV_LAYOUT_H

#include "conv_chunks.h"
#include "scratch.h"
#include "winograd.h"

/* CONV_PANELS: forward, or backward data. The result is [pixels, columns]. */
typedef struct product_scratch {
    float *packed;     /* weights */
    float *partials;   /* of the epilogue, for each panel */
    per_thread panels; /* for any number of pixels, and taps of any phase */
    per_thread rooms;  /* pack_panel()'s */
    size_t elems;
} product_scratch;

product_scratch conv_forward_product_layout(const sd_conv2d *conv, sd_scratch scratch);
product_scratch conv_backward_product_layout(const sd_conv2d *conv, sd_scratch scratch);

/* CONV_PANELS: backward weights. A piece is a panel of WEIGHT_PANEL_PIXELS. */
typedef struct weights_scratch {
    conv_chunks chunks;
    per_thread gradients; /* take_for_pieces(): dy of a panel: [WEIGHT_PANEL_PIXELS, at most WEIGHT_COLUMNS] */
    per_thread panels, rooms;
    float *dw; /* of chunks but the first */
    size_t elems;
} weights_scratch;

weights_scratch conv_weights_layout(const sd_conv2d *conv, sd_scratch scratch);

/* CONV_POINTWISE: backward. A piece is a panel. */
typedef struct pointwise_panel {
    float *rows;   /* dy: [pixel][k] */
    float *dy, *x; /* slices: [k / 16][pixel][16], [c / 16][pixel][16] */
    size_t elems;
} pointwise_panel;

pointwise_panel conv_pointwise_panel_layout(const sd_conv2d *conv, size_t pixels, float *memory);

typedef struct pointwise_scratch {
    size_t pixels; /* of a whole panel */
    conv_chunks chunks;
    float *weights;    /* w^T, packed */
    per_thread panels; /* take_for_pieces(): a pointwise_panel */
    float *dw;         /* of chunks but the first */
    float *partials;   /* of the epilogue, for each panel */
    size_t elems;
} pointwise_scratch;

pointwise_scratch conv_pointwise_layout(const sd_conv2d *conv, sd_scratch scratch);

/* CONV_ROWS. */
typedef struct rows_forward_scratch {
    band_plan plan;
    float *weights;   /* packed */
    float *partials;  /* of the epilogue, for each piece */
    per_thread bands; /* x of a piece */
    size_t elems;
} rows_forward_scratch;

typedef struct rows_backward_scratch {
    band_plan plan;
    float *weights, *partials;
    float *x_band, *dy_band; /* of a piece, shared by all threads */
    size_t elems;
} rows_backward_scratch;

rows_forward_scratch conv_rows_forward_layout(const conv3x3 *conv, sd_scratch scratch);
rows_backward_scratch conv_rows_backward_layout(const sd_conv2d *conv, sd_scratch scratch);

/* CONV_WINOGRAD. The buffers of a block of plan->in and plan->out channels. */
typedef struct winograd_block {
    float *v, *m;
    size_t elems;
} winograd_block;

winograd_block winograd_block_layout(const winograd_plan *plan, float *memory);

typedef struct winograd_forward_scratch {
    winograd_plan plan;
    float *u;                 /* of all points, packed */
    per_thread blocks, bands; /* winograd_block of plan */
    float *partials;          /* of the epilogue, for each tile row */
    size_t elems;
} winograd_forward_scratch;

typedef struct winograd_backward_scratch {
    winograd_plan x_plan;  /* in = c, out = k: V of x, and Z, the gradient of its M */
    winograd_plan dy_plan; /* in = k, out = c: V of dy, and M of dx */
    conv_chunks chunks;
    float *u;                       /* of all points: w turned, packed */
    float *du, *other_du;           /* of the first chunk, and of the others: [36][c][k] each */
    per_thread x_blocks, dy_blocks; /* take_for_pieces(): winograd_block of x_plan and of dy_plan */
    per_thread bands;               /* of x or of dy */
    float *partials;                /* of the epilogue, for each tile row */
    size_t elems;
} winograd_backward_scratch;

/* register_tile: winograd_plan_of()'s. */
winograd_forward_scratch conv_winograd_forward_layout(const conv3x3 *conv, int register_tile, sd_scratch scratch);
winograd_backward_scratch conv_winograd_backward_layout(const sd_conv2d *conv, int register_tile, sd_scratch scratch);

#endif
