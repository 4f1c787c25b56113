/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: panels and scratch of the linear kernels, for all instruction sets. */
#ifndef SDTRAIN_KERNELS_LINEAR_H
#define SDTRAIN_KERNELS_LINEAR_H

#include "panel.h"
#include "scratch.h"

enum {
    TILE_ROWS = 42,        /* a multiple of every tile's pixels: 14 and 6 */
    FORWARD_MAX_ROWS = 84, /* of a panel, multiplied by one thread */
    BACKWARD_ROWS = 126,   /* of a panel, shared by all threads */
    COLUMN_GROUP = 96,     /* columns of a product computed at a time: whole tiles of 2 and of 3 vectors */
    REFERENCE_ROWS = 256,  /* that linear_ref.c maps at a time */
};

static inline size_t round_up_to(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Rows of a forward panel: enough to reuse the weights, few enough for the cache. */
static inline size_t linear_forward_rows(size_t in) {
    const size_t rows = 128 * 1024 / (sizeof(float) * in) / TILE_ROWS * TILE_ROWS;
    return rows < TILE_ROWS ? TILE_ROWS : rows > FORWARD_MAX_ROWS ? FORWARD_MAX_ROWS : rows;
}

typedef struct linear_forward_scratch {
    float *packed;     /* w^T */
    per_thread panels; /* of x: [slice of in][linear_forward_rows][SLICE] */
    size_t elems;
} linear_forward_scratch;

static inline linear_forward_scratch linear_forward_layout(size_t in, size_t out, sd_scratch scratch) {
    scratch_cursor cursor = {.scratch = scratch};
    linear_forward_scratch s;
    s.packed = take(&cursor, packed_b_elems(in, out));
    s.panels = take_per_thread(&cursor, panel_slices(in) * SLICE * linear_forward_rows(in));
    s.elems = cursor.elems;
    return s;
}

/* A panel, packed for both products, and their results. */
typedef struct linear_backward_scratch {
    float *dy;     /* [slice of out][BACKWARD_ROWS][SLICE] */
    float *x;      /* [group of in][BACKWARD_ROWS][COLUMN_GROUP] */
    float *packed; /* w */
    float *dw;     /* [group of in][out, whole slices][COLUMN_GROUP] */
    float *dbias;  /* [out, whole slices] */
    size_t elems;
} linear_backward_scratch;

static inline linear_backward_scratch linear_backward_layout(size_t in, size_t out, sd_scratch scratch) {
    const size_t padded_out = panel_slices(out) * SLICE, padded_in = round_up_to(in, COLUMN_GROUP);
    scratch_cursor cursor = {.scratch = scratch};
    linear_backward_scratch s;
    s.dy = take(&cursor, padded_out * BACKWARD_ROWS);
    s.x = take(&cursor, padded_in * BACKWARD_ROWS);
    s.packed = take(&cursor, packed_b_elems(out, in));
    s.dw = take(&cursor, padded_in * padded_out);
    s.dbias = take(&cursor, padded_out);
    s.elems = cursor.elems;
    return s;
}

/* Of linear_ref.c, both passes. */
typedef struct linear_reference_scratch {
    float *x, *dy; /* some rows, mapped: [REFERENCE_ROWS, in], [REFERENCE_ROWS, out] */
    size_t elems;
} linear_reference_scratch;

static inline linear_reference_scratch linear_reference_layout(size_t in, size_t out, sd_scratch scratch) {
    scratch_cursor cursor = {.scratch = scratch};
    linear_reference_scratch s;
    s.x = take(&cursor, REFERENCE_ROWS * in);
    s.dy = take(&cursor, REFERENCE_ROWS * out);
    s.elems = cursor.elems;
    return s;
}

#endif
