/* SPDX-License-Identifier: Apache-2.0 */
#include "tile.h"

#include <string.h>

#include "panel.h"

/* ---- packing ---- */

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int quad_places __attribute__((vector_size(16)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (quad_places){__VA_ARGS__})
#endif

/* to[i * to_pitch + j] = from[j * from_pitch + i] for 4 x 4 values. */
static inline void transpose_quads(const float *from, size_t from_pitch, float *to, size_t to_pitch) {
    const quad a = *(const quad *)from, b = *(const quad *)(from + from_pitch),
               c = *(const quad *)(from + 2 * from_pitch), d = *(const quad *)(from + 3 * from_pitch);
    const quad ab01 = SHUFFLE(a, b, 0, 4, 1, 5), ab23 = SHUFFLE(a, b, 2, 6, 3, 7);
    const quad cd01 = SHUFFLE(c, d, 0, 4, 1, 5), cd23 = SHUFFLE(c, d, 2, 6, 3, 7);
    *(quad *)to = SHUFFLE(ab01, cd01, 0, 1, 4, 5);
    *(quad *)(to + to_pitch) = SHUFFLE(ab01, cd01, 2, 3, 6, 7);
    *(quad *)(to + 2 * to_pitch) = SHUFFLE(ab23, cd23, 0, 1, 4, 5);
    *(quad *)(to + 3 * to_pitch) = SHUFFLE(ab23, cd23, 2, 3, 6, 7);
}

/* to[i * to_pitch + j] = from[j * from_pitch + i], zero for j from `columns` to to_columns. */
static void transpose(const float *from, size_t from_pitch, size_t rows, size_t columns, size_t to_columns, float *to,
                      size_t to_pitch) {
    const size_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (size_t i = 0; i < whole_rows; i += 4)
        for (size_t j = 0; j < whole_columns; j += 4)
            transpose_quads(from + j * from_pitch + i, from_pitch, to + i * to_pitch + j, to_pitch);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = i < whole_rows ? whole_columns : 0; j < to_columns; j++)
            to[i * to_pitch + j] = j < columns ? from[j * from_pitch + i] : 0.0f;
}

/* Copies a row of a group, padded with zeros. Vectors for whole groups: memcpy calls took most of the time. */
static inline void copy_columns(const float *from, size_t valid, size_t width, float *to) {
    if (valid == WIDE) {
        store(to, load(from));
        store(to + VL, load(from + VL));
    } else {
        memcpy(to, from, valid * sizeof(float));
        memset(to + valid, 0, (width - valid) * sizeof(float));
    }
}

void pack_b(const float *b, size_t rows, size_t columns, size_t row_stride, size_t column_stride, size_t row0,
            size_t b_rows, float *packed) {
    const size_t end = panel_slices(row0 + rows) * SLICE;
    for (size_t column = 0; column < columns; column += WIDE) {
        const size_t width = columns - column > VL ? WIDE : VL;
        const size_t valid = columns - column < width ? columns - column : width;
        float *group = packed + column * b_rows + row0 * width;
        const float *from = b + column * column_stride;
        if (column_stride == 1) {
            for (size_t i = 0; i < rows; i++)
                copy_columns(from + i * row_stride, valid, width, group + i * width);
        } else {
            transpose(from, column_stride, rows, valid, width, group, width);
        }
        memset(group + rows * width, 0, (end - row0 - rows) * width * sizeof(float));
    }
}

/* ---- A B ---- */

enum { MIN_FETCHED_SLICES = 4 }; /* with fewer it saves no time */

/* sum += factor x; sum and factor keep their registers. */
static inline __attribute__((always_inline)) void multiply_add(vec *sum, vec factor, vec x) {
    *sum += factor * x;
    if (TILE_KEEPS_REGISTERS)
        KEEP_SUM(*sum);
}

static inline __attribute__((always_inline)) void end_of_use(vec factor) {
    if (TILE_KEEPS_REGISTERS)
        KEEP_FACTOR(factor);
}

/* acc[pixel][vector] += a[pixel] b[vector] for one value of a slice. */
static inline __attribute__((always_inline)) void add_product(const int height, const int vectors, const float *a,
                                                              const float *b, vec *acc) {
    vec weight[2];
    UNROLL
    for (int v = 0; v < vectors; v++)
        weight[v] = load(b + v * VL);
    UNROLL
    for (int p = 0; p < height; p++) {
        const vec x = splat(a[p * SLICE]);
        UNROLL
        for (int v = 0; v < vectors; v++)
            multiply_add(&acc[p * vectors + v], weight[v], x);
        end_of_use(x);
    }
    UNROLL
    for (int v = 0; v < vectors; v++)
        end_of_use(weight[v]);
}

/* Stores part of a tile. noinline: its loops would take registers from the tile. */
static __attribute__((noinline)) void store_part(const float *spilled, size_t pitch, bool add, float *out,
                                                 const size_t *offset, int pixels, size_t columns) {
    for (int p = 0; p < pixels; p++)
        for (size_t j = 0; j < columns; j++) {
            const float value = spilled[(size_t)p * pitch + j];
            out[offset[p] + j] = add ? out[offset[p] + j] + value : value;
        }
}

/* acc[pixel][vector] = sum over slices and their 16 values of a * b, for `height` pixels; out[offset[pixel]] = or +=
 * acc for the first `pixels`. spill: room for a tile. */
static inline __attribute__((always_inline)) void tile(const int height, const int vectors, const float *a,
                                                       size_t slice_elems, const float *b, int slices, bool add,
                                                       float *out, const size_t *offset, int pixels, size_t columns,
                                                       float *spill) {
    vec acc[2 * TILE_PIXELS];
    UNROLL
    for (int i = 0; i < height * vectors; i++)
        acc[i] = (vec){0};
    for (int p = 0; slices >= MIN_FETCHED_SLICES && p < pixels; p++) { /* prefetch the result's lines */
        __builtin_prefetch(out + offset[p], 1);
        __builtin_prefetch(out + offset[p] + columns - 1, 1);
    }
    for (int slice = 0; slice < slices; slice++, a += slice_elems)
        for (int value = 0; value < SLICE; value += TILE_UNROLL, b += TILE_UNROLL * vectors * VL) {
            UNROLL
            for (int i = 0; i < TILE_UNROLL; i++)
                add_product(height, vectors, a + value + i, b + i * vectors * VL, acc);
        }
    if (pixels == height && columns == (size_t)(vectors * VL)) {
        UNROLL
        for (int p = 0; p < height; p++) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                float *to = out + offset[p] + v * VL;
                vec result = acc[p * vectors + v];
                if (add)
                    result += load(to);
                store(to, result);
            }
        }
        return;
    }
    UNROLL
    for (int i = 0; i < height * vectors; i++)
        store(spill + i * VL, acc[i]);
    store_part(spill, (size_t)(vectors * VL), add, out, offset, pixels, columns);
}

#define TILE(name, height, vectors)                                                                                    \
    static __attribute__((noinline)) void name(const float *a, size_t slice_elems, const float *b, int slices,         \
                                               bool add, float *out, const size_t *offset, int pixels, size_t columns, \
                                               float *spill) {                                                         \
        tile(height, vectors, a, slice_elems, b, slices, add, out, offset, pixels, columns, spill);                    \
    }
TILE(tile_wide, TILE_PIXELS, 2)
TILE(tile_narrow, TILE_PIXELS, 1)
TILE(tile_tall, 2 * TILE_PIXELS, 1)
#undef TILE

void panel_multiply_chunk(const float *a, size_t slice_elems, int slices, const float *packed, int first_slice,
                          int all_slices, size_t columns, int count, const size_t *offset, float *out) {
    float spill[2 * TILE_PIXELS * VL] ALIGNED;
    for (size_t column = 0; column < columns; column += WIDE) {
        const bool wide = columns - column > VL;
        const size_t width = wide ? WIDE : VL, valid = columns - column < width ? columns - column : width;
        const float *b = packed + column * (size_t)all_slices * SLICE + (size_t)first_slice * SLICE * width;
        for (int p = 0, height; p < count; p += height) {
            const bool tall = !wide && count - p >= 2 * TILE_PIXELS;
            height = tall ? 2 * TILE_PIXELS : TILE_PIXELS;
            (wide   ? tile_wide
             : tall ? tile_tall
                    : tile_narrow)(a + (size_t)p * SLICE, slice_elems, b, slices, first_slice > 0, out + column,
                                   offset + p, count - p < height ? count - p : height, valid, spill);
        }
    }
}

/* ---- A^T B ---- */

/* acc[lane][vector] += a[lane] b[vector] for one pixel. */
static inline __attribute__((always_inline)) void add_outer_product(const int lanes, const int vectors, const float *a,
                                                                    const float *b, vec *acc) {
    vec d[BROAD_VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++)
        d[v] = load(b + v * VL);
    UNROLL
    for (int l = 0; l < lanes; l++) {
        const vec x = splat(a[l]);
        UNROLL
        for (int v = 0; v < vectors; v++)
            multiply_add(&acc[l * vectors + v], d[v], x);
        end_of_use(x);
    }
    UNROLL
    for (int v = 0; v < vectors; v++)
        end_of_use(d[v]);
}

/* c[lane][vector] += sum over pixels of a[pixel][lane] * b[pixel][vector]. */
static inline __attribute__((always_inline)) void tile_transposed(const int lanes, const int vectors, const float *a,
                                                                  const float *b, size_t b_stride, int pixels,
                                                                  size_t columns, float *c) {
    vec acc[BROAD_VECTORS * TILE_LANES];
    UNROLL
    for (int i = 0; i < lanes * vectors; i++)
        acc[i] = (vec){0};
    UNROLL
    for (int l = 0; l < lanes; l++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            __builtin_prefetch(c + (size_t)l * columns + (size_t)(v * VL), 1);
    }
    int p = 0;
    for (; p + 2 <= pixels; p += 2, a += 2 * SLICE, b += 2 * b_stride) {
        add_outer_product(lanes, vectors, a, b, acc);
        add_outer_product(lanes, vectors, a + SLICE, b + b_stride, acc);
    }
    if (p < pixels)
        add_outer_product(lanes, vectors, a, b, acc);
    UNROLL
    for (int l = 0; l < lanes; l++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = c + (size_t)l * columns + (size_t)(v * VL);
            store(to, load(to) + acc[l * vectors + v]);
        }
    }
}

#define TILE(name, lanes, vectors)                                                                                     \
    static __attribute__((noinline)) void name(const float *a, const float *b, size_t b_stride, int pixels,            \
                                               size_t columns, float *c) {                                             \
        tile_transposed(lanes, vectors, a, b, b_stride, pixels, columns, c);                                           \
    }
TILE(tile_transposed_broad, TILE_LANES, BROAD_VECTORS)
TILE(tile_transposed_wide, TILE_LANES, 2)
TILE(tile_transposed_narrow, TILE_LANES, 1)
TILE(tile_transposed_tall, 2 * TILE_LANES, 1)
#undef TILE

/* Fewer lanes than a tile: panels are padded with zeros. */
static void tile_transposed_part(size_t lanes, size_t width, const float *a, const float *b, size_t b_stride,
                                 int pixels, size_t columns, float *c) {
    float part[TILE_LANES][BROAD] = {{0}};
    (width == BROAD  ? tile_transposed_broad
     : width == WIDE ? tile_transposed_wide
                     : tile_transposed_narrow)(a, b, b_stride, pixels, BROAD, part[0]);
    for (size_t l = 0; l < lanes; l++)
        for (size_t j = 0; j < width; j++)
            c[l * columns + j] += part[l][j];
}

/* Fewer columns than a vector. */
static void tile_transposed_any(size_t lanes, size_t width, const float *a, const float *b, size_t b_stride, int pixels,
                                size_t columns, float *c) {
    for (size_t l = 0; l < lanes; l++)
        for (size_t j = 0; j < width; j++) {
            float sum = 0;
            for (int p = 0; p < pixels; p++)
                sum += a[(size_t)p * SLICE + l] * b[(size_t)p * b_stride + j];
            c[l * columns + j] += sum;
        }
}

/* The width of the next tile, given the columns left: broad, unless that would leave a single vector. */
static size_t transposed_width(size_t left) {
    if (BROAD > WIDE && (left == BROAD || left >= BROAD + WIDE))
        return BROAD;
    return left >= WIDE ? WIDE : left >= VL ? VL : left;
}

void panel_multiply_transposed(const float *a, size_t slice_elems, size_t rows, const float *b, size_t b_stride,
                               size_t columns, size_t pitch, int count, float *c) {
    for (size_t j = 0; j < columns;) {
        const size_t left = columns - j, width = transposed_width(left);
        for (size_t row = 0, lanes; row < rows; row += lanes) {
            const float *from = a + row / SLICE * slice_elems + row % SLICE;
            float *to = c + row * pitch + j;
            lanes = rows - row < TILE_LANES ? rows - row : TILE_LANES;
            if (width < VL) {
                tile_transposed_any(lanes, width, from, b + j, b_stride, count, pitch, to);
            } else if (lanes < TILE_LANES) {
                tile_transposed_part(lanes, width, from, b + j, b_stride, count, pitch, to);
            } else if (width == BROAD) {
                tile_transposed_broad(from, b + j, b_stride, count, pitch, to);
            } else if (width == WIDE) {
                tile_transposed_wide(from, b + j, b_stride, count, pitch, to);
            } else if (rows - row >= 2 * TILE_LANES) { /* within a slice, as SLICE is a multiple */
                lanes = 2 * TILE_LANES;
                tile_transposed_tall(from, b + j, b_stride, count, pitch, to);
            } else {
                tile_transposed_narrow(from, b + j, b_stride, count, pitch, to);
            }
        }
        j += width;
    }
}
