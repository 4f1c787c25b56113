/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the cut of a convolution by Winograd's algorithm, by shape and instruction set
 * (winograd_plan.c). */
#ifndef SDTRAIN_KERNELS_WINOGRAD_H
#define SDTRAIN_KERNELS_WINOGRAD_H

#include "conv.h"

enum {
    WINOGRAD_TILE = 4, /* outputs of a tile, in each direction */
    WINOGRAD_SPAN = 6, /* inputs of a tile, in each direction */
    WINOGRAD_POINTS = WINOGRAD_SPAN * WINOGRAD_SPAN,
    WINOGRAD_MAX_TILES = 256, /* of a block */
    /* TILE_PIXELS of tile.h: of AVX-512, and of the other instruction sets. */
    TALL_REGISTER_TILE = 14,
    SHORT_REGISTER_TILE = 6,
};

typedef struct winograd_plan {
    int h, w, in, out;
    int tiles_h, tiles_w;   /* of an image */
    int block_rows;         /* tile rows of a block, possibly of several images */
    long tile_rows, blocks; /* of all images */
    int columns;            /* of a band */
    /* Sizes in floats of V, M and bands of a block, and strides of their points and slices. */
    size_t v_elems, v_point_elems, slice_elems, m_elems, m_point_elems, band_elems, band_slice_elems;
} winograd_plan;

/* register_tile: pixels of a register tile, a tile being one "pixel"; blocks fill whole ones if possible. */
winograd_plan winograd_plan_of(int images, int h, int w, int in, int out, int register_tile);

/* The index of a tile row's first pixel, counted over all images. */
static inline size_t winograd_first_pixel(const winograd_plan *p, long tile_row) {
    return ((size_t)(tile_row / p->tiles_h) * (size_t)p->h + (size_t)(tile_row % p->tiles_h * WINOGRAD_TILE)) *
           (size_t)p->w;
}

#endif
