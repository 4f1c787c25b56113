/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: how rows of [rows, c] are cut for kernels that work on rows alone, by shape. */
#ifndef SDTRAIN_KERNELS_CHUNK_H
#define SDTRAIN_KERNELS_CHUNK_H

#include <stddef.h>

/* Rows of a chunk: what fits the first cache, but enough for the sums of a chunk to be worth their room. */
static inline size_t chunk_rows(int c) {
    enum { CHUNK_ELEMS = 16384, MIN_CHUNK_ROWS = 16 };
    const size_t rows = CHUNK_ELEMS / (size_t)c;
    return rows < MIN_CHUNK_ROWS ? MIN_CHUNK_ROWS : rows;
}

/* Floats of a chunk's partial sums in layernorm_backward: its parts of dbeta and of dgamma. */
static inline size_t layernorm_partial_elems(int c) { return 2 * (size_t)c; }

static inline size_t n_chunks(size_t rows, int c) { return (rows + chunk_rows(c) - 1) / chunk_rows(c); }

#endif
