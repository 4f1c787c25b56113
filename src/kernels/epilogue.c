/* SPDX-License-Identifier: Apache-2.0 */
#include "epilogue.h"

#include "chunk.h"
#include "panel.h"
#include "table.h"
#include "vec.h"

enum {
    GROUP = 4, /* vectors of channels with sums in registers at a time */
    /* Independent sums of each kind: with fewer, additions wait for each other's latency. If there are fewer vectors of
     * channels, several rows have sums of their own, which are added up in order at the end. */
    STATISTICS_CHAINS = 4,
    GRADIENT_CHAINS = VL == 16 ? 4 : 2,
    MAX_CHAINS = 8, /* the larger of both may not exceed this */
};

static inline int rows_at_once(int chains, int vectors) { return chains > vectors ? chains / vectors : 1; }

/* chain[v] += chain[row * vectors + v] of the other rows. */
static inline __attribute__((always_inline)) void fold_chains(const int rows, const int vectors, vec *chain) {
    UNROLL
    for (int i = vectors; i < rows * vectors; i++)
        chain[i % vectors] += chain[i];
}

/* ---- statistics ---- */

/* The means of n channels of a piece, and the sums of squared differences from them. Sums are of differences from the
 * piece's first row (origin), so that nothing cancels if a mean is far from zero. */
static inline __attribute__((always_inline)) void end_statistics(const int n, const float *origin, const float *sum,
                                                                 const float *squares, size_t rows, double *means,
                                                                 double *differences) {
#pragma omp simd
    for (int i = 0; i < n; i++) {
        const double shift = (double)sum[i] / (double)rows;
        means[i] = (double)origin[i] + shift;
        differences[i] = (double)squares[i] - shift * (double)sum[i];
    }
}

/* Adds `rows` rows of `vectors` vectors of channels; each row has sums of its own. */
static inline __attribute__((always_inline)) void add_differences(const int rows, const int vectors, const float *y,
                                                                  size_t c, const vec *origin, vec *sum, vec *squares) {
    UNROLL
    for (int i = 0; i < rows * vectors; i++) {
        const vec difference = load(y + (size_t)(i / vectors) * c + i % vectors * VL) - origin[i % vectors];
        sum[i] += difference;
        squares[i] += difference * difference;
    }
}

static inline __attribute__((always_inline)) void statistics_of(const int vectors, size_t rows, size_t c,
                                                                const float *y, double *means, double *differences) {
    const int some = rows_at_once(STATISTICS_CHAINS, vectors);
    vec origin[GROUP] ALIGNED, sum[MAX_CHAINS] ALIGNED, squares[MAX_CHAINS] ALIGNED;
    UNROLL
    for (int v = 0; v < vectors; v++)
        origin[v] = load(y + v * VL);
    UNROLL
    for (int i = 0; i < some * vectors; i++)
        sum[i] = squares[i] = (vec){0};
    size_t row = 0;
    for (; row + (size_t)some <= rows; row += (size_t)some)
        add_differences(some, vectors, y + row * c, c, origin, sum, squares);
    for (; row < rows; row++)
        add_differences(1, vectors, y + row * c, c, origin, sum, squares);
    fold_chains(some, vectors, sum);
    fold_chains(some, vectors, squares);
    end_statistics(vectors * VL, (const float *)origin, (const float *)sum, (const float *)squares, rows, means,
                   differences);
}

static void statistics_of_channel(size_t rows, size_t c, const float *y, double *mean, double *differences) {
    float sum = 0, squares = 0;
    for (size_t row = 0; row < rows; row++) {
        const float difference = y[row * c] - y[0];
        sum += difference;
        squares += difference * difference;
    }
    end_statistics(1, y, &sum, &squares, rows, mean, differences);
}

static void statistics(size_t rows, size_t c, const float *y, double *partial) {
    double *means = partial + 1, *differences = means + c;
    size_t i = 0;
    for (; i + GROUP * VL <= c; i += GROUP * VL)
        statistics_of(GROUP, rows, c, y + i, means + i, differences + i);
    for (; i + 2 * VL <= c; i += 2 * VL)
        statistics_of(2, rows, c, y + i, means + i, differences + i);
    for (; i + VL <= c; i += VL)
        statistics_of(1, rows, c, y + i, means + i, differences + i);
    for (; i < c; i++)
        statistics_of_channel(rows, c, y + i, means + i, differences + i);
    partial[0] = (double)rows;
}

/* ---- the gradient's epilogue ---- */

/* Coefficients of some vectors of channels, for all rows. */
typedef struct gradient_channels {
    vec mean[GROUP], a[GROUP], d[GROUP]; /* of the product; of the mask */
} gradient_channels;

/* The index of vector i of a block of rows: vector i % vectors of row i / vectors. */
static inline size_t place(int i, int vectors, size_t at, size_t c) {
    return at + (size_t)(i / vectors) * c + (size_t)(i % vectors * VL);
}

/* Prefetches once for each cache line of a block. */
static inline void fetch_line_ahead(const float *stream, int i, int vectors, size_t at, size_t c) {
    if (i % vectors * VL % SLICE == 0)
        fetch_ahead(stream + place(i, vectors, at, c));
}

/* Finishes `rows` rows of `vectors` vectors of channels, from `at` on; each row has sums of its own. Branches on the
 * epilogue once for all rows. */
static inline __attribute__((always_inline)) void finish_rows(const int rows, const int vectors, const sd_epilogue *e,
                                                              const gradient_channels *k, size_t at, size_t c, float *y,
                                                              vec *sum, vec *products) {
    const int n = rows * vectors;
    vec value[MAX_CHAINS];
    UNROLL
    for (int i = 0; i < n; i++)
        value[i] = load(y + place(i, vectors, at, c));
    if (e->add) {
        UNROLL
        for (int i = 0; i < n; i++) {
            fetch_line_ahead(e->add, i, vectors, at, c);
            value[i] += load(e->add + place(i, vectors, at, c));
        }
    }
    if (e->mask.u) {
        UNROLL
        for (int i = 0; i < n; i++) {
            const vec u = load(e->mask.u + place(i, vectors, at, c));
            fetch_line_ahead(e->mask.u, i, vectors, at, c);
            value[i] = keep_where(u * k->a[i % vectors] + k->d[i % vectors] > 0, value[i]);
        }
    }
    UNROLL
    for (int i = 0; i < n; i++)
        store(y + place(i, vectors, at, c), value[i]);
    if (e->product) {
        UNROLL
        for (int i = 0; i < n; i++) {
            const vec product = load(e->product + place(i, vectors, at, c));
            fetch_line_ahead(e->product, i, vectors, at, c);
            sum[i] += value[i];
            products[i] += value[i] * (product - k->mean[i % vectors]);
        }
    }
}

static inline __attribute__((always_inline)) void widen(const int n, const float *from, double *to) {
#pragma omp simd
    for (int i = 0; i < n; i++)
        to[i] = from[i];
}

/* Finishes channels [i, i + vectors * VL) of all rows; y and at are those of the piece's first row. */
static inline __attribute__((always_inline)) void gradient_of(const int vectors, const sd_epilogue *epilogue, size_t at,
                                                              size_t rows, size_t c, size_t i, float *y,
                                                              double *partial) {
    const sd_epilogue e = *epilogue; /* a copy, as stores to y could alias *epilogue */
    const int some = rows_at_once(GRADIENT_CHAINS, vectors);
    vec sum[MAX_CHAINS] ALIGNED, products[MAX_CHAINS] ALIGNED;
    gradient_channels k;
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const size_t channel = i + (size_t)(v * VL);
        k.mean[v] = e.product ? load(e.product_mean + channel) : (vec){0};
        k.a[v] = e.mask.a ? load(e.mask.a + channel) : splat(1);
        k.d[v] = e.mask.d ? load(e.mask.d + channel) : (vec){0};
    }
    UNROLL
    for (int j = 0; j < some * vectors; j++)
        sum[j] = products[j] = (vec){0};
    size_t row = 0;
    for (; row + (size_t)some <= rows; row += (size_t)some)
        finish_rows(some, vectors, &e, &k, at + row * c + i, c, y, sum, products);
    for (; row < rows; row++)
        finish_rows(1, vectors, &e, &k, at + row * c + i, c, y, sum, products);
    if (e.product) {
        fold_chains(some, vectors, sum);
        fold_chains(some, vectors, products);
        widen(vectors * VL, (const float *)sum, partial + 1 + i);
        widen(vectors * VL, (const float *)products, partial + 1 + c + i);
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
    for (; i + 2 * VL <= c; i += 2 * VL)
        gradient_of(2, e, first * c, rows, c, i, y, partial);
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

void SD_ISA_NAME(apply_epilogue)(size_t rows, int c, float *y, const sd_epilogue *e, sd_scratch scratch) {
    const size_t some = chunk_rows(c), chunks = n_chunks(rows, c);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < chunks; n++) {
        const size_t first = n * some;
        finish_piece(e, first, rows - first < some ? rows - first : some, c, y, n, scratch.memory);
    }
    fold_pieces(e, chunks, c, scratch.memory);
}
