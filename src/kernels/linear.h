/* Private to kernels/: how the linear kernels cut their matrices, for all instruction sets. */
#ifndef SDTRAIN_KERNELS_LINEAR_H
#define SDTRAIN_KERNELS_LINEAR_H

#include "panel.h"

enum {
    TILE_ROWS = 42,        /* a multiple of every tile's pixels: 14 and 6 */
    FORWARD_MAX_ROWS = 84, /* of a panel, which a thread multiplies alone */
    BACKWARD_ROWS = 126,   /* of a panel, which all threads share */
    COLUMN_GROUP = 32,     /* columns of a product that are made at a time */
    REFERENCE_ROWS = 256,  /* that linear_ref.c maps at a time */
};

static inline size_t round_up_to(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Rows of a forward panel: enough to reuse the weights, few enough for the cache. */
static inline size_t linear_forward_rows(int in) {
    const size_t rows = 128 * 1024 / (sizeof(float) * (size_t)in) / TILE_ROWS * TILE_ROWS;
    return rows < TILE_ROWS ? TILE_ROWS : rows > FORWARD_MAX_ROWS ? FORWARD_MAX_ROWS : rows;
}

#endif
