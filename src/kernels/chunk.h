/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: chunks of rows of [rows, c], for kernels that work row by row. Cut by shape alone. */
#ifndef SDTRAIN_KERNELS_CHUNK_H
#define SDTRAIN_KERNELS_CHUNK_H

#include <stddef.h>

/* Rows of a chunk: few enough for the L1 cache, enough to be worth the memory of a chunk's partial sums. */
static inline size_t chunk_rows(int c) {
    enum { CHUNK_ELEMS = 16384, MIN_CHUNK_ROWS = 16 };
    const size_t rows = CHUNK_ELEMS / (size_t)c;
    return rows < MIN_CHUNK_ROWS ? MIN_CHUNK_ROWS : rows;
}

/* Floats of a chunk's partial sums of dbeta and dgamma in layernorm_backward. */
static inline size_t layernorm_partial_elems(int c) { return 2 * (size_t)c; }

static inline size_t n_chunks(size_t rows, int c) { return (rows + chunk_rows(c) - 1) / chunk_rows(c); }

#endif
