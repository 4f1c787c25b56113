/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: maps (sd_map), applied to a part of a matrix while it is read or written. */
#ifndef SDTRAIN_KERNELS_MAP_H
#define SDTRAIN_KERNELS_MAP_H

#include "isa.h"
#include "panel.h"

/* The layout of a part: column j of its row r is at[j / width * block_elems + r * row_elems + j % width]. */
typedef struct map_layout {
    size_t width, block_elems, row_elems; /* width: a multiple of SLICE, unless all columns are in one block */
} map_layout;

/* A part of a matrix [*, c]. column: a multiple of SLICE. */
typedef struct map_part {
    size_t row, rows, column, columns;
} map_part;

/* to = map(that part of x [*, c]); to may be the part itself. map may be NULL. */
void map_values(const sd_map *map, const float *x, size_t c, map_part part, float *to, map_layout layout);

#endif
