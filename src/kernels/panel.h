/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the left matrix of a product as a panel, [slice][pixel][16] (tile.h). */
#ifndef SDTRAIN_KERNELS_PANEL_H
#define SDTRAIN_KERNELS_PANEL_H

#include <stddef.h>

enum { SLICE = 16 }; /* values of a slice */

static inline size_t panel_slices(size_t rows) { return (rows + SLICE - 1) / SLICE; }

/* Floats of a packed B (pack_b): rows padded to slices, columns to groups of every instruction set. */
static inline size_t packed_b_elems(size_t rows, size_t columns) {
    return panel_slices(rows) * SLICE * ((columns + 31) / 32 * 32);
}

#endif
