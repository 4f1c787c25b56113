/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers as products of packed matrices (tile.h), in panels of rows; maps are applied while packing and storing.
 *
 *     forward   y = x w^T     each thread packs panels of x and multiplies them by w^T, which is packed once a call
 *     backward  over panels of x and dy, which all threads pack together, then share
 *                   dw += dy^T x     in column groups of dw, each summed panel by panel, in order
 *                   dx = dy w        in column groups of dx */
#include "linear.h"

#include <string.h>

#include "map.h"
#include "table.h"
#include "tile.h"

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Packs map(x) of rows [row, row + rows) of x [*, c]: to[j / width][pixel][j % width], blocks block_elems apart, zeros
 * from column c on. */
static void pack_rows(const float *x, const sd_map *map, size_t c, size_t row, size_t rows, size_t width,
                      size_t block_elems, float *to) {
    map_values(map, x, c, (map_part){row, rows, 0, c}, to, (map_layout){width, block_elems, width});
    const size_t tail = c % width;
    for (size_t r = 0; tail && r < rows; r++)
        memset(to + c / width * block_elems + r * width + tail, 0, (width - tail) * sizeof(float));
}

/* part of y [*, c] = panel B, B [inner, c] packed; the panel begins with the part's rows. */
static void multiply_part(const float *panel, size_t slice_elems, size_t inner, const float *packed, size_t c,
                          map_part part, float *y) {
    const size_t slices = panel_slices(inner);
    panel_multiply_rows(panel, slice_elems, slices, packed + part.column * slices * SLICE, part.columns, part.rows,
                        y + part.row * c + part.column, c);
}

/* Applies the map to a part of a result, in place. */
static void map_result(const sd_map *map, size_t c, map_part part, float *y) {
    if (map)
        map_values(map, y, c, part, y + part.row * c + part.column, (map_layout){c, 0, c});
}

static inline void add_to_row(size_t columns, const float *bias, float *y) {
    for (size_t j = 0; j < columns; j++)
        y[j] += bias[j];
}

static void add_bias(const float *bias, size_t c, map_part part, float *y) {
    y += part.row * c + part.column;
    for (size_t r = 0; r < part.rows; r++, y += c) {
        if (part.columns == COLUMN_GROUP)
            add_to_row(COLUMN_GROUP, bias + part.column, y);
        else
            add_to_row(part.columns, bias + part.column, y);
    }
}

void SD_ISA_NAME(linear_forward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *w,
                                 const float *bias, float *y, const sd_map *y_map, sd_scratch scratch) {
    const size_t n_in = (size_t)in, n_out = (size_t)out;
    const size_t panel_rows = linear_forward_rows(n_in), slice_elems = panel_rows * SLICE;
    const linear_forward_scratch s = linear_forward_layout(n_in, n_out, scratch);
    pack_b(w, n_in, n_out, 1, n_in, 0, panel_slices(n_in) * SLICE, s.packed);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t row = 0; row < rows; row += panel_rows) {
        const size_t count = least(rows - row, panel_rows);
        float *panel = own(&s.panels);
        pack_rows(x, x_map, n_in, row, count, SLICE, slice_elems, panel);
        for (size_t column = 0; column < n_out; column += COLUMN_GROUP) {
            const map_part part = {row, count, column, least(n_out - column, COLUMN_GROUP)};
            multiply_part(panel, slice_elems, n_in, s.packed, n_out, part, y);
            add_bias(bias, n_out, part, y);
            map_result(y_map, n_out, part, y);
        }
    }
}

/* ---- backward ---- */

enum { WEIGHT_SLICES = 4 }; /* slices of dy per task on dw */

/* The arguments of a backward pass, and its scratch. */
typedef struct backward {
    size_t in, out;
    linear_backward_scratch s;
} backward;

static size_t padded_out(const backward *b) { return panel_slices(b->out) * SLICE; }

static void sum_columns(const float *slice, size_t rows, float *sum) {
    float panel_sum[SLICE] = {0};
    for (size_t r = 0; r < rows; r++)
        for (int l = 0; l < SLICE; l++)
            panel_sum[l] += slice[r * SLICE + (size_t)l];
    for (int l = 0; l < SLICE; l++)
        sum[l] += panel_sum[l];
}

/* Adds a panel to one group of columns and WEIGHT_SLICES slices of rows of dw. */
static void add_to_weights(const backward *b, size_t rows, size_t group, size_t slice) {
    const size_t slices = least(panel_slices(b->out) - slice, WEIGHT_SLICES), slice_elems = BACKWARD_ROWS * SLICE;
    const size_t columns = least(round_up_to(b->in - group * COLUMN_GROUP, VL), COLUMN_GROUP);
    const float *dy = b->s.dy + slice * slice_elems;
    panel_multiply_transposed(dy, slice_elems, slices * SLICE, b->s.x + group * BACKWARD_ROWS * COLUMN_GROUP,
                              COLUMN_GROUP, columns, COLUMN_GROUP, (int)rows,
                              b->s.dw + (group * padded_out(b) + slice * SLICE) * COLUMN_GROUP);
    for (size_t s = 0; group == 0 && s < slices; s++)
        sum_columns(dy + s * slice_elems, rows, b->s.dbias + (slice + s) * SLICE);
}

static void copy_weights(const backward *b, float *dw, float *dbias) {
    for (size_t o = 0; o < b->out; o++)
        for (size_t column = 0; column < b->in; column += COLUMN_GROUP)
            memcpy(dw + o * b->in + column, b->s.dw + column * padded_out(b) + o * COLUMN_GROUP,
                   least(b->in - column, COLUMN_GROUP) * sizeof(float));
    memcpy(dbias, b->s.dbias, b->out * sizeof(float));
}

void SD_ISA_NAME(linear_backward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *dy,
                                  const sd_map *dy_map, const float *w, float *dx, const sd_map *dx_map, float *dw,
                                  float *dbias, sd_scratch scratch) {
    const backward b = {(size_t)in, (size_t)out, linear_backward_layout((size_t)in, (size_t)out, scratch)};
    const size_t slices = panel_slices(b.out), groups = (b.in + COLUMN_GROUP - 1) / COLUMN_GROUP;
    const size_t slice_elems = BACKWARD_ROWS * SLICE, group_elems = BACKWARD_ROWS * COLUMN_GROUP;
    pack_b(w, b.out, b.in, b.in, 1, 0, slices * SLICE, b.s.packed);
    memset(b.s.dw, 0, groups * COLUMN_GROUP * padded_out(&b) * sizeof(float));
    memset(b.s.dbias, 0, padded_out(&b) * sizeof(float));
#pragma omp parallel num_threads(scratch.threads)
    for (size_t row = 0; row < rows; row += BACKWARD_ROWS) {
        const size_t count = least(rows - row, BACKWARD_ROWS);
#pragma omp for schedule(static)
        for (size_t r = 0; r < count; r += TILE_ROWS) {
            const size_t some = least(count - r, TILE_ROWS);
            pack_rows(dy, dy_map, b.out, row + r, some, SLICE, slice_elems, b.s.dy + r * SLICE);
            pack_rows(x, x_map, b.in, row + r, some, COLUMN_GROUP, group_elems, b.s.x + r * COLUMN_GROUP);
        }
#pragma omp for schedule(static) collapse(2) nowait
        for (size_t group = 0; group < groups; group++)
            for (size_t slice = 0; slice < slices; slice += WEIGHT_SLICES)
                add_to_weights(&b, count, group, slice);
#pragma omp for schedule(static)
        for (size_t column = 0; column < b.in; column += COLUMN_GROUP) {
            const map_part part = {row, count, column, least(b.in - column, COLUMN_GROUP)};
            multiply_part(b.s.dy, slice_elems, b.out, b.s.packed, b.in, part, dx);
            map_result(dx_map, b.in, part, dx);
        }
    }
    copy_weights(&b, dw, dbias);
}
