/* SPDX-License-Identifier: Apache-2.0 */
#include "epilogue.h"

#include "chunk.h"
#include "vec.h"

enum { GROUP = 4 }; /* vectors of channels whose sums are kept in registers at a time */

/* ---- statistics ---- */

/* The piece's mean and sum of squared differences from it. A row of the piece itself is subtracted from all, which keeps the
 * difference of squares from cancelling when a mean is far from zero. */
static void end_statistics(float origin, float sum, float squares, size_t rows, double *mean, double *differences) {
    const double shift = (double)sum / (double)rows;
    *mean = (double)origin + shift;
    *differences = (double)squares - shift * (double)sum;
}

static inline __attribute__((always_inline)) void statistics_of(const int vectors, size_t rows, size_t c,
                                                                const float *y, double *means, double *differences) {
    vec origin[GROUP], sum[GROUP], squares[GROUP];
    UNROLL
    for (int v = 0; v < vectors; v++) {
        origin[v] = load(y + v * VL);
        sum[v] = squares[v] = (vec){0};
    }
    for (size_t row = 0; row < rows; row++, y += c) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const vec difference = load(y + v * VL) - origin[v];
            sum[v] += difference;
            squares[v] += difference * difference;
        }
    }
    for (int v = 0; v < vectors; v++)
        for (int l = 0; l < VL; l++)
            end_statistics(origin[v][l], sum[v][l], squares[v][l], rows, means + v * VL + l, differences + v * VL + l);
}

static void statistics_of_channel(size_t rows, size_t c, const float *y, double *mean, double *differences) {
    float sum = 0, squares = 0;
    for (size_t row = 0; row < rows; row++) {
        const float difference = y[row * c] - y[0];
        sum += difference;
        squares += difference * difference;
    }
    end_statistics(y[0], sum, squares, rows, mean, differences);
}

static void statistics(size_t rows, size_t c, const float *y, double *partial) {
    double *means = partial + 1, *differences = means + c;
    size_t i = 0;
    for (; i + GROUP * VL <= c; i += GROUP * VL)
        statistics_of(GROUP, rows, c, y + i, means + i, differences + i);
    for (; i + VL <= c; i += VL)
        statistics_of(1, rows, c, y + i, means + i, differences + i);
    for (; i < c; i++)
        statistics_of_channel(rows, c, y + i, means + i, differences + i);
    partial[0] = (double)rows;
}

/* ---- the gradient's epilogue ---- */

/* Channels [i, i + vectors * VL) of all rows; y, and at, begin with the piece's first row. */
static inline __attribute__((always_inline)) void gradient_of(const int vectors, const sd_epilogue *e, size_t at,
                                                              size_t rows, size_t c, size_t i, float *y,
                                                              double *partial) {
    vec sum[GROUP], products[GROUP], mean[GROUP], a[GROUP], d[GROUP];
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const size_t channel = i + (size_t)(v * VL);
        sum[v] = products[v] = (vec){0};
        mean[v] = e->product ? load(e->product_mean + channel) : (vec){0};
        a[v] = e->mask.a ? load(e->mask.a + channel) : same(1);
        d[v] = e->mask.d ? load(e->mask.d + channel) : (vec){0};
    }
    at += i;
    for (size_t row = 0; row < rows; row++, at += c) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const size_t here = at + (size_t)(v * VL);
            vec value = load(y + here);
            if (e->add) {
                fetch_ahead(e->add + here);
                value += load(e->add + here);
            }
            if (e->mask.u) {
                fetch_ahead(e->mask.u + here);
                value = where(load(e->mask.u + here) * a[v] + d[v] > 0, value);
            }
            store(y + here, value);
            if (e->product) {
                fetch_ahead(e->product + here);
                sum[v] += value;
                products[v] += value * (load(e->product + here) - mean[v]);
            }
        }
    }
    for (int v = 0; v < vectors && e->product; v++)
        for (int l = 0; l < VL; l++) {
            partial[1 + i + (size_t)(v * VL + l)] = sum[v][l];
            partial[1 + c + i + (size_t)(v * VL + l)] = products[v][l];
        }
}

static void gradient_of_channel(const sd_epilogue *e, size_t at, size_t rows, size_t c, size_t i, float *y,
                                double *partial) {
    float sum = 0, products = 0;
    at += i;
    for (size_t row = 0; row < rows; row++, at += c) {
        if (e->add)
            y[at] += e->add[at];
        if (e->mask.u && !(e->mask.u[at] * (e->mask.a ? e->mask.a[i] : 1) + (e->mask.d ? e->mask.d[i] : 0) > 0))
            y[at] = 0;
        sum += y[at];
        if (e->product)
            products += y[at] * (e->product[at] - e->product_mean[i]);
    }
    if (e->product) {
        partial[1 + i] = sum;
        partial[1 + c + i] = products;
    }
}

static void gradient(const sd_epilogue *e, size_t first, size_t rows, size_t c, float *y, double *partial) {
    size_t i = 0;
    for (; i + GROUP * VL <= c; i += GROUP * VL)
        gradient_of(GROUP, e, first * c, rows, c, i, y, partial);
    for (; i + VL <= c; i += VL)
        gradient_of(1, e, first * c, rows, c, i, y, partial);
    for (; i < c; i++)
        gradient_of_channel(e, first * c, rows, c, i, y, partial);
}

/* ---- pieces ---- */

void finish_piece(const sd_epilogue *e, size_t first, size_t rows, int c, float *y, size_t piece, float *partials) {
    if (!e)
        return;
    double *partial = (double *)(void *)(partials + piece * partial_elems(c));
    if (e->mean)
        statistics(rows, (size_t)c, y + first * (size_t)c, partial);
    else if (e->add || e->mask.u || e->product)
        gradient(e, first, rows, (size_t)c, y, partial);
}

void SD_ISA_NAME(finish)(size_t rows, int c, float *y, const sd_epilogue *e, sd_scratch scratch) {
    const size_t some = chunk_rows(c), chunks = n_chunks(rows, c);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < chunks; n++) {
        const size_t first = n * some;
        finish_piece(e, first, rows - first < some ? rows - first : some, c, y, n, scratch.memory);
    }
    fold_pieces(e, chunks, c, scratch.memory);
}
