#include "epilogue.h"

#include <math.h>

#include "reduce.h"

/* A strip is a whole number of rows, as one array whose channel is the place modulo c. */
typedef struct strip {
    float first[MAX_STRIP], second[MAX_STRIP]; /* sums */
    float origin[MAX_STRIP];                   /* what is subtracted before squaring, or the product's mean */
    float a[MAX_STRIP], d[MAX_STRIP];          /* of the mask */
} strip;

static void begin(const sd_epilogue *e, const float *y, int c, strip *s) {
    for (size_t j = 0, elems = strip_elems(c); j < elems; j++) {
        const size_t i = j % (size_t)c;
        s->first[j] = s->second[j] = 0;
        /* A row of the piece itself keeps the difference of squares from cancelling when a mean is far from zero. */
        s->origin[j] = e->product ? e->product_mean[i] : 0.0f;
        if (e->mean)
            s->origin[j] = y[i];
        s->a[j] = e->mask.a ? e->mask.a[i] : 1.0f;
        s->d[j] = e->mask.d ? e->mask.d[i] : 0.0f;
    }
}

static void add(size_t elems, const float *x, float *y) {
    for (size_t j = 0; j < elems; j++)
        y[j] += x[j];
}

static void mask(size_t elems, const float *u, const strip *s, float *y) {
    for (size_t j = 0; j < elems; j++)
        y[j] = u[j] * s->a[j] + s->d[j] > 0 ? y[j] : 0.0f;
}

static void add_squares(size_t elems, const float *y, strip *s) {
    for (size_t j = 0; j < elems; j++) {
        float difference = y[j] - s->origin[j];
        s->first[j] += difference;
        s->second[j] += difference * difference;
    }
}

static void add_products(size_t elems, const float *y, const float *product, strip *s) {
    for (size_t j = 0; j < elems; j++) {
        s->first[j] += y[j];
        s->second[j] += y[j] * (product[j] - s->origin[j]);
    }
}

/* partial: [rows, then 2 x c]: mean and sum of squared differences from it, or the two sums. */
static void end(const sd_epilogue *e, size_t rows, int c, const strip *s, double *partial) {
    const size_t width = (size_t)c;
    double *first = partial + 1, *second = first + width;
    partial[0] = (double)rows;
    for (size_t i = 0; i < 2 * width; i++)
        first[i] = 0;
    for (size_t j = 0, elems = strip_elems(c); j < elems; j++) {
        first[j % width] += s->first[j];
        second[j % width] += s->second[j];
    }
    if (!e->mean)
        return;
    for (size_t i = 0; i < width; i++) {
        const double shift = first[i] / (double)rows;
        second[i] -= shift * first[i];
        first[i] = s->origin[i] + shift;
    }
}

void SD_ISA_NAME(finish_piece)(const sd_epilogue *e, size_t first, size_t rows, int c, float *y, size_t piece,
                               float *partials) {
    if (!e || (!e->add && !e->mask.u && !e->mean && !e->product))
        return;
    strip s;
    const size_t begin_elems = first * (size_t)c, end_elems = (first + rows) * (size_t)c, step = strip_elems(c);
    begin(e, y + begin_elems, c, &s);
    for (size_t at = begin_elems; at < end_elems; at += step) {
        const size_t elems = end_elems - at < step ? end_elems - at : step;
        if (e->add)
            add(elems, e->add + at, y + at);
        if (e->mask.u)
            mask(elems, e->mask.u + at, &s, y + at);
        if (e->mean)
            add_squares(elems, y + at, &s);
        if (e->product)
            add_products(elems, y + at, e->product + at, &s);
    }
    if (e->mean || e->product)
        end(e, rows, c, &s, (double *)(void *)(partials + piece * partial_elems(c)));
}

void SD_ISA_NAME(finish)(size_t rows, int c, float *y, const sd_epilogue *e, float *scratch) {
    const size_t chunk_rows = chunk_elems(c) / (size_t)c, chunks = n_chunks(rows, c);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        const size_t first = n * chunk_rows;
        SD_ISA_NAME(finish_piece)(e, first, rows - first < chunk_rows ? rows - first : chunk_rows, c, y, n, scratch);
    }
    fold_pieces(e, chunks, c, scratch);
}

void SD_ISA_NAME(evaluate)(size_t rows, int c, const sd_operand *x, float *y) {
    const size_t elems = rows * (size_t)c, step = strip_elems(c), chunk = chunk_elems(c), chunks = n_chunks(rows, c);
    const float least = x->relu ? 0.0f : -INFINITY;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        float a[MAX_STRIP], b[MAX_STRIP], d[MAX_STRIP];
        for (size_t j = 0; j < step; j++) {
            const size_t i = j % (size_t)c;
            a[j] = x->a ? x->a[i] : 1.0f;
            b[j] = x->b ? x->b[i] : 1.0f;
            d[j] = x->d ? x->d[i] : 0.0f;
        }
        const size_t end_elems = (n + 1) * chunk < elems ? (n + 1) * chunk : elems;
        for (size_t at = n * chunk; at < end_elems; at += step) {
            const size_t valid = end_elems - at < step ? end_elems - at : step;
            const float *u = x->u + at, *v = x->v ? x->v + at : NULL;
            float *to = y + at;
            if (v) {
                for (size_t j = 0; j < valid; j++) {
                    float value = u[j] * a[j] + (v[j] * b[j] + d[j]);
                    to[j] = value < least ? least : value; /* NaN stays NaN */
                }
            } else {
                for (size_t j = 0; j < valid; j++) {
                    float value = u[j] * a[j] + d[j];
                    to[j] = value < least ? least : value;
                }
            }
        }
    }
}
