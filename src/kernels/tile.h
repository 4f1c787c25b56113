/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: matrix products in register tiles, for one instruction set.
 *
 * The left matrix A [pixels, rows] is a panel of slices of 16 rows, a[slice][pixel][16]. Its pixel stride is a
 * compile-time constant, so a tile broadcasts from constant offsets. The right matrix B [rows, columns] is packed once
 * a call into groups of two vectors of columns. Rows and columns are padded with zeros. */
#ifndef SDTRAIN_KERNELS_TILE_H
#define SDTRAIN_KERNELS_TILE_H

#include "panel.h"
#include "vec.h"

enum {
    WIDE = 2 * VL,                    /* columns of a group */
    TILE_PIXELS = VL == 16 ? 14 : 6,  /* times 2 vectors: fills the registers that weights leave free */
    TILE_LANES = VL == 16 ? 8 : 4,    /* A^T B: rows of a tile, times ... */
    BROAD_VECTORS = VL == 16 ? 2 : 3, /* ... this many vectors: enough sums to hide the latency of an addition */
    BROAD = BROAD_VECTORS * VL,
    /* For 16 registers; not needed with 32 (measured: tests/bench/LOG.md). */
    TILE_KEEPS_REGISTERS = VL < 16,     /* KEEP_SUM(), KEEP_FACTOR() */
    TILE_UNROLL = VL == 16 ? 1 : SLICE, /* unrolled values of a slice */
};

/* Packs rows [row0, row0 + rows) of B, whose packed form has b_rows rows (a multiple of SLICE). Element (i, j) is b[i *
 * row_stride + j * column_stride]; one of the strides is 1. Pads with zero rows up to a whole slice. */
void pack_b(const float *b, size_t rows, size_t columns, size_t row_stride, size_t column_stride, size_t row0,
            size_t b_rows, float *packed);

/* out[offset[p] + j] = sum over rows of A[p] B[j], for count pixels and all columns. A and B are slices [first_slice,
 * first_slice + slices) of all_slices; chunks with first_slice > 0 add to out. */
void panel_multiply_chunk(const float *a, size_t slice_elems, int slices, const float *packed, int first_slice,
                          int all_slices, size_t columns, int count, const size_t *offset, float *out);

static inline void panel_multiply(const float *a, size_t slice_elems, int slices, const float *packed, size_t columns,
                                  int count, const size_t *offset, float *out) {
    panel_multiply_chunk(a, slice_elems, slices, packed, 0, slices, columns, count, offset, out);
}

/* out[p * pitch + j] = sum over rows of A[p] B[j]. */
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
