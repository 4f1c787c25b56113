/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation of operands (sd_operand). Loops are specialised for v != NULL and ReLU, so that they have no branches: a
 * compiler cannot hoist them, as stores to the result could alias *x. */
#include "operand.h"

#include "chunk.h"
#include "table.h"
#include "vec.h"

enum {
    PER_SLICE = SLICE / VL, /* 1, 2 or 4 */
    GROUP = 4,              /* vectors of channels with coefficients in registers at a time */
    MAX_SLICES = 8,         /* slices whose coefficients are loaded at a time */
};

typedef struct coefficients {
    vec a, b, d;
} coefficients;

static inline coefficients coefficients_at(const sd_operand *x, size_t channel) {
    return (coefficients){.a = x->a ? load(x->a + channel) : splat(1),
                          .b = x->b ? load(x->b + channel) : splat(1),
                          .d = x->d ? load(x->d + channel) : (vec){0}};
}

/* A vector of values. sum: v is read. */
static inline __attribute__((always_inline)) vec value_of(const bool sum, const bool relu, const float *u,
                                                          const float *v, coefficients k) {
    vec value = k.d;
    if (sum)
        value += load(v) * k.b;
    value += load(u) * k.a;
    return relu ? positive_part(value) : value;
}

/* Rows of some channels, and their destination. */
typedef struct operand_run {
    size_t at, stride; /* index of the first value in u and v; row stride */
    size_t channel;    /* of the first value */
    size_t rows;
    float *to;
    size_t pitch; /* row stride of `to` */
} operand_run;

/* ---- a few vectors of channels ---- */

static inline __attribute__((always_inline)) void evaluate_vectors(const int vectors, const bool sum, const bool relu,
                                                                   const sd_operand *x, const operand_run *run) {
    const size_t stride = run->stride, pitch = run->pitch, rows = run->rows;
    const float *u = x->u + run->at, *v = sum ? x->v + run->at : NULL;
    float *to = run->to;
    coefficients k[GROUP];
    UNROLL
    for (int i = 0; i < vectors; i++)
        k[i] = coefficients_at(x, run->channel + (size_t)(i * VL));
    for (size_t row = 0; row < rows; row++, u += stride, to += pitch) {
        UNROLL
        for (int i = 0; i < vectors; i++) {
            if (i * VL % SLICE == 0) { /* a cache line */
                fetch_ahead(u + i * VL);
                if (sum)
                    fetch_ahead(v + i * VL);
            }
            store(to + i * VL, value_of(sum, relu, u + i * VL, sum ? v + i * VL : NULL, k[i]));
        }
        if (sum)
            v += stride;
    }
}

static inline __attribute__((always_inline)) void evaluate_run(const int vectors, const sd_operand *x,
                                                               const operand_run *run) {
    if (x->v && x->relu)
        evaluate_vectors(vectors, true, true, x, run);
    else if (x->v)
        evaluate_vectors(vectors, true, false, x, run);
    else if (x->relu)
        evaluate_vectors(vectors, false, true, x, run);
    else
        evaluate_vectors(vectors, false, false, x, run);
}

static void evaluate_few(int vectors, const sd_operand *x, const operand_run *run) {
    switch (vectors) {
    case GROUP:
        evaluate_run(GROUP, x, run);
        break;
    case 2:
        evaluate_run(2, x, run);
        break;
    default:
        evaluate_run(1, x, run);
    }
}

/* ---- slices ---- */

/* Pixel by pixel, the order in memory. */
static inline __attribute__((always_inline)) void evaluate_pixels(const bool sum, const bool relu, const sd_operand *x,
                                                                  const operand_run *run, const coefficients *k,
                                                                  int slices, size_t slice_elems) {
    const size_t stride = run->stride, pitch = run->pitch, pixels = run->rows;
    const float *u = x->u + run->at, *v = sum ? x->v + run->at : NULL;
    float *to = run->to;
    for (size_t p = 0; p < pixels; p++, u += stride, to += pitch) {
        for (int s = 0; s < slices; s++) {
            fetch_ahead(u + s * SLICE);
            if (sum)
                fetch_ahead(v + s * SLICE);
            UNROLL
            for (int i = 0; i < PER_SLICE; i++) {
                const int at = s * SLICE + i * VL;
                store(to + (size_t)s * slice_elems + i * VL,
                      value_of(sum, relu, u + at, sum ? v + at : NULL, k[s * PER_SLICE + i]));
            }
        }
        if (sum)
            v += stride;
    }
}

static void evaluate_slices(const sd_operand *x, const operand_run *run, int slices, size_t slice_elems) {
    coefficients k[MAX_SLICES * PER_SLICE] ALIGNED;
    for (int i = 0; i < slices * PER_SLICE; i++)
        k[i] = coefficients_at(x, run->channel + (size_t)(i * VL));
    if (x->v && x->relu)
        evaluate_pixels(true, true, x, run, k, slices, slice_elems);
    else if (x->v)
        evaluate_pixels(true, false, x, run, k, slices, slice_elems);
    else if (x->relu)
        evaluate_pixels(false, true, x, run, k, slices, slice_elems);
    else
        evaluate_pixels(false, false, x, run, k, slices, slice_elems);
}

static void copy_slices(const float *u, const operand_run *run, int slices, size_t slice_elems) {
    const size_t stride = run->stride, pitch = run->pitch, pixels = run->rows;
    float *to = run->to;
    u += run->at;
    for (size_t p = 0; p < pixels; p++, u += stride, to += pitch)
        for (int s = 0; s < slices; s++) {
            fetch_ahead(u + s * SLICE);
            UNROLL
            for (int i = 0; i < PER_SLICE; i++)
                store(to + (size_t)s * slice_elems + i * VL, load(u + s * SLICE + i * VL));
        }
}

void operand_slices(const sd_operand *x, size_t at, size_t stride, size_t channel, int slices, int count, float *to,
                    size_t slice_elems) {
    operand_run run = {.at = at, .stride = stride, .channel = channel, .rows = (size_t)count, .to = to, .pitch = SLICE};
    if (operand_is_plain(x)) {
        copy_slices(x->u, &run, slices, slice_elems);
        return;
    }
    if (slices == 1) {
        evaluate_few(PER_SLICE, x, &run);
        return;
    }
    for (; slices > 0; slices -= MAX_SLICES) {
        evaluate_slices(x, &run, slices < MAX_SLICES ? slices : MAX_SLICES, slice_elems);
        run.at += MAX_SLICES * SLICE;
        run.channel += MAX_SLICES * SLICE;
        run.to += MAX_SLICES * slice_elems;
    }
}

/* ---- blocks ---- */

void evaluate_block(const sd_operand *x, size_t first, size_t rows, size_t c, size_t column, size_t columns, float *y) {
    const size_t at = first * c, end = column + columns;
    size_t i = column;
    operand_run run = {.stride = c, .rows = rows, .pitch = columns};
    while (i + VL <= end) {
        const int vectors = i + GROUP * VL <= end ? GROUP : i + 2 * VL <= end ? 2 : 1;
        run.at = at + i;
        run.channel = i;
        run.to = y + (i - column);
        evaluate_few(vectors, x, &run);
        i += (size_t)(vectors * VL);
    }
    for (; i < end; i++)
        for (size_t row = 0; row < rows; row++)
            y[row * columns + (i - column)] = operand_value(x, at + row * c + i, i);
}

void SD_ISA_NAME(store_operand)(size_t rows, int c, const sd_operand *x, float *y) {
    const size_t some = chunk_rows(c), chunks = n_chunks(rows, c);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        const size_t first = n * some;
        evaluate_block(x, first, rows - first < some ? rows - first : some, (size_t)c, 0, (size_t)c,
                       y + first * (size_t)c);
    }
}
