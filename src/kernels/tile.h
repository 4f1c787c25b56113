/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: matrix products in register tiles, for one instruction set.
 *
 * The left matrix A [pixels, rows] is a panel, packed as slices of 16 values, a[slice][pixel][16]: the pixel stride
 * becomes a compile-time constant, so a tile broadcasts from fixed addresses. The right matrix B [rows, columns] is
 * packed once a call into groups of two vectors of columns. Missing rows and columns are zeros. */
#ifndef SDTRAIN_KERNELS_TILE_H
#define SDTRAIN_KERNELS_TILE_H

#include "panel.h"
#include "vec.h"

enum {
    WIDE = 2 * VL,                    /* columns of a group */
    TILE_PIXELS = VL == 16 ? 14 : 6,  /* times 2 vectors: what fits the registers beside the weights */
    TILE_LANES = VL == 16 ? 8 : 4,    /* A^T B: rows a tile holds, times ... */
    BROAD_VECTORS = VL == 16 ? 2 : 3, /* ... so many vectors: sums enough to hide the latency of an addition */
    BROAD = BROAD_VECTORS * VL,
    /* What 16 registers need and 32 do not (measured: tests/bench/LOG.md). */
    TILE_KEEPS_REGISTERS = VL < 16,     /* KEEP_SUM(), KEEP_FACTOR() */
    TILE_UNROLL = VL == 16 ? 1 : SLICE, /* values of a slice whose products stand in a row, without a loop */
};

/* Rows [row0, row0 + rows) of the packed B, of which there are b_rows (a multiple of SLICE) in all: element (i, j) is
 * b[i * row_stride + j * column_stride], one of the strides being 1. The last rows up to the next slice become
 * zeros. */
void pack_b(const float *b, size_t rows, size_t columns, size_t row_stride, size_t column_stride, size_t row0,
            size_t b_rows, float *packed);

/* out[offset[p] + j] = sum over rows of A[p] B[j], for count pixels and all columns, where A and B are the slices
 * [first_slice, first_slice + slices) of all_slices: what later chunks yield is added. */
void panel_multiply_chunk(const float *a, size_t slice_elems, int slices, const float *packed, int first_slice,
                          int all_slices, size_t columns, int count, const size_t *offset, float *out);

static inline void panel_multiply(const float *a, size_t slice_elems, int slices, const float *packed, size_t columns,
                                  int count, const size_t *offset, float *out) {
    panel_multiply_chunk(a, slice_elems, slices, packed, 0, slices, columns, count, offset, out);
}

/* out[p * pitch + j] = sum over rows of A[p] B[j]: the pixels' results lie in order. */
static inline void panel_multiply_rows(const float *a, size_t slice_elems, size_t slices, const float *packed,
                                       size_t columns, size_t count, float *out, size_t pitch) {
    enum { BLOCK_PIXELS = 42 }; /* a multiple of every tile's */
    size_t offset[BLOCK_PIXELS];
    for (size_t p = 0; p < BLOCK_PIXELS; p++)
        offset[p] = p * pitch;
    for (size_t p = 0; p < count; p += BLOCK_PIXELS)
        panel_multiply(a + p * SLICE, slice_elems, (int)slices, packed, columns,
                       count - p < BLOCK_PIXELS ? (int)(count - p) : BLOCK_PIXELS, offset, out + p * pitch);
}

/* c[i * pitch + j] += sum over count pixels of A[p][i] b[p * b_stride + j], for all rows and columns. */
void panel_multiply_transposed(const float *a, size_t slice_elems, size_t rows, const float *b, size_t b_stride,
                               size_t columns, size_t pitch, int count, float *c);

#endif
