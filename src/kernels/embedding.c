/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "isa.h"
#include "table.h"

static size_t length_of(const sd_embedding *e, size_t image) {
    return (size_t)(e->lengths ? e->lengths[image] : e->tokens);
}

static size_t type_of(const sd_embedding *e, size_t image, size_t token) {
    return e->second && token >= (size_t)e->second[image];
}

static inline void add_run(size_t n, const float *x, float *sum) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        sum[i] += x[i];
}

void SD_ISA_NAME(embedding_forward)(const sd_embedding *e, const float *table, const float *position, const float *type,
                                    float *y) {
    const size_t tokens = (size_t)e->tokens, c = (size_t)e->c, row_bytes = c * sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < (size_t)e->images * tokens; row++) {
        const size_t image = row / tokens, token = row % tokens;
        float *to = y + row * c;
        if (token >= length_of(e, image)) {
            memset(to, 0, row_bytes);
            continue;
        }
        memcpy(to, table + (size_t)e->ids[row] * c, row_bytes);
        if (type)
            add_run(c, type + type_of(e, image, token) * c, to);
        if (position)
            add_run(c, position + token * c, to);
    }
}

/* ---- backward ---- */

enum { COLUMNS = 32 }; /* that one thread sums, walking all tokens */

static void add_columns(size_t n, const float *x, float *sum) {
    if (n == COLUMNS)
        add_run(COLUMNS, x, sum);
    else
        add_run(n, x, sum);
}

/* Columns [first, first + n) of rows [rows, c]. */
static void clear_columns(size_t rows, size_t c, size_t first, size_t n, float *x) {
    for (size_t r = 0; r < rows; r++)
        memset(x + r * c + first, 0, n * sizeof(float));
}

/* The gradients of columns [first, first + n). Sums over types are those of each image's sum. */
static void sum_columns(const sd_embedding *e, size_t first, size_t n, const float *dy, float *dtable, float *dposition,
                        float *dtype) {
    const size_t tokens = (size_t)e->tokens, c = (size_t)e->c;
    if (dposition)
        clear_columns(tokens, c, first, n, dposition);
    if (dtype)
        clear_columns(2, c, first, n, dtype);
    for (size_t image = 0; image < (size_t)e->images; image++) {
        float types[2][COLUMNS] = {{0}};
        for (size_t t = 0; t < length_of(e, image); t++) {
            const size_t row = image * tokens + t;
            const float *from = dy + row * c + first;
            add_columns(n, from, dtable + (size_t)e->ids[row] * c + first);
            if (dposition)
                add_columns(n, from, dposition + t * c + first);
            add_columns(n, from, types[type_of(e, image, t)]);
        }
        for (size_t t = 0; dtype && t < 2; t++)
            add_columns(n, types[t], dtype + t * c + first);
    }
}

void SD_ISA_NAME(embedding_backward)(const sd_embedding *e, const float *dy, float *dtable, float *dposition,
                                     float *dtype) {
    const size_t c = (size_t)e->c;
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < c; first += COLUMNS)
        sum_columns(e, first, c - first < COLUMNS ? c - first : COLUMNS, dy, dtable, dposition, dtype);
}
