/* SPDX-License-Identifier: Apache-2.0 */
#include "map.h"

#include "dropout.h"
#include "table.h"
#include "vector_math.h"

enum {
    COPY = -1,         /* a NULL map */
    PREFETCH_ROWS = 4, /* ahead: fetching a value from memory takes as long as mapping it */
};

/* Maps n values of row r, from column j on. kind is a constant, and so is n except at the end of a row. */
static inline __attribute__((always_inline)) void map_run(const int kind, const int n, const sd_map *map,
                                                          const float *x, size_t c, size_t r, size_t j, float *to) {
    const float *from = x + r * c + j, *other = NULL;
    if (kind == SD_MAP_ADD || kind == SD_MAP_GELU_BACKWARD || kind == SD_MAP_TANH_BACKWARD)
        other = map->other + r * c + j;
    __builtin_prefetch(from + PREFETCH_ROWS * c);
    if (other)
        __builtin_prefetch(other + PREFETCH_ROWS * c);
    switch (kind) {
    case SD_MAP_SCALE:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = map->scale * from[i];
        break;
    case SD_MAP_ADD:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = other[i] + map->scale * from[i];
        break;
    case SD_MAP_NORMALISE:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = (from[i] - map->mean[r]) * map->rstd[r] * map->gamma[j + (size_t)i] + map->beta[j + (size_t)i];
        break;
    case SD_MAP_GELU:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = gelu(from[i]);
        break;
    case SD_MAP_GELU_BACKWARD:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = from[i] * gelu_slope(other[i]);
        break;
    case SD_MAP_TANH: /* of a few rows: the pooler's */
        for (int i = 0; i < n; i++)
            to[i] = tanhf(from[i]);
        break;
    case SD_MAP_TANH_BACKWARD:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = from[i] * (1.0f - other[i] * other[i]);
        break;
    default:
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = from[i];
    }
}

static inline __attribute__((always_inline)) void map_rows(const int kind, const sd_map *map_at, const float *x,
                                                           size_t c, map_part part, float *to, map_layout layout) {
    const sd_map map = map_at ? *map_at : (sd_map){0}; /* a copy, as stores to `to` could alias *map_at */
    for (size_t row = 0; row < part.rows; row++) {
        for (size_t first = 0; first < part.columns; first += layout.width) {
            float *at = to + first / layout.width * layout.block_elems + row * layout.row_elems;
            const size_t left = part.columns - first, width = left < layout.width ? left : layout.width;
            size_t j = 0;
            for (; j + SLICE <= width; j += SLICE)
                map_run(kind, SLICE, &map, x, c, part.row + row, part.column + first + j, at + j);
            if (j < width)
                map_run(kind, (int)(width - j), &map, x, c, part.row + row, part.column + first + j, at + j);
        }
    }
}

/* n values of SD_MAP_SCALE (other is NULL) or SD_MAP_ADD with dropout. */
static inline __attribute__((always_inline)) void drop_run(const int n, float scale, const float *factor,
                                                           const float *from, const float *other, float *to) {
    if (other) {
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = other[i] + scale * (factor[i] * from[i]);
    } else {
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = scale * (factor[i] * from[i]);
    }
}

static void drop_row(const sd_map *map, const float *x, const float *other, size_t row, size_t column, size_t columns,
                     float *to, map_layout layout) {
    const size_t image_rows = (size_t)map->image_rows;
    float factor[DROPOUT_COLUMNS];
    for (size_t j = 0; j < columns; j += SLICE) {
        const size_t place = (column + j) % DROPOUT_COLUMNS;
        const float *added = other ? other + j : NULL;
        float *at = to + j / layout.width * layout.block_elems + j % layout.width;
        if (j == 0 || place == 0)
            dropout_factors(map->dropout, row / image_rows, row % image_rows, column + j, factor);
        if (columns - j >= SLICE)
            drop_run(SLICE, map->scale, factor + place, x + j, added, at);
        else
            drop_run((int)(columns - j), map->scale, factor + place, x + j, added, at);
    }
}

static void drop_rows(const sd_map *map, const float *x, size_t c, map_part part, float *to, map_layout layout) {
    for (size_t r = 0; r < part.rows; r++) {
        const size_t row = part.row + r, at = row * c + part.column;
        drop_row(map, x + at, map->kind == SD_MAP_ADD ? map->other + at : NULL, row, part.column, part.columns,
                 to + r * layout.row_elems, layout);
    }
}

void map_values(const sd_map *map, const float *x, size_t c, map_part part, float *to, map_layout layout) {
    if (map && drops(map->dropout)) {
        drop_rows(map, x, c, part, to, layout);
        return;
    }
    switch (map ? (int)map->kind : COPY) {
    case SD_MAP_SCALE:
        map_rows(SD_MAP_SCALE, map, x, c, part, to, layout);
        break;
    case SD_MAP_ADD:
        map_rows(SD_MAP_ADD, map, x, c, part, to, layout);
        break;
    case SD_MAP_NORMALISE:
        map_rows(SD_MAP_NORMALISE, map, x, c, part, to, layout);
        break;
    case SD_MAP_GELU:
        map_rows(SD_MAP_GELU, map, x, c, part, to, layout);
        break;
    case SD_MAP_GELU_BACKWARD:
        map_rows(SD_MAP_GELU_BACKWARD, map, x, c, part, to, layout);
        break;
    case SD_MAP_TANH:
        map_rows(SD_MAP_TANH, map, x, c, part, to, layout);
        break;
    case SD_MAP_TANH_BACKWARD:
        map_rows(SD_MAP_TANH_BACKWARD, map, x, c, part, to, layout);
        break;
    default:
        map_rows(COPY, map, x, c, part, to, layout);
    }
}

enum { ROWS = 16 }; /* a thread takes at a time */

void SD_ISA_NAME(map)(size_t rows, int c, const float *x, const sd_map *map, float *y) {
    const size_t width = (size_t)c;
#pragma omp parallel for schedule(static) if (rows > ROWS)
    for (size_t row = 0; row < rows; row += ROWS) {
        const map_part part = {row, rows - row < ROWS ? rows - row : ROWS, 0, width};
        map_values(map, x, width, part, y + row * width, (map_layout){width, 0, width});
    }
}
