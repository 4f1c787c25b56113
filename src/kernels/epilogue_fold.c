/* SPDX-License-Identifier: Apache-2.0 */
#include "epilogue.h"

/* Combines means and squares of pieces as Chan, Golub & LeVeque 1983, into those of the first piece. Pieces are the
 * outer loop, so that channels are independent. */
static void fold_statistics(const sd_epilogue *e, size_t pieces, size_t c, double *partials, size_t stride) {
    double rows = partials[0], *mean = partials + 1, *squares = mean + c;
    for (size_t n = 1; n < pieces; n++) {
        const double *partial = partials + n * stride, all = rows + partial[0];
        const double share = partial[0] / all, weight = rows * share;
#pragma omp simd
        for (size_t i = 0; i < c; i++) {
            const double difference = partial[1 + i] - mean[i];
            mean[i] += difference * share;
            squares[i] += partial[1 + c + i] + difference * difference * weight;
        }
        rows = all;
    }
    for (size_t i = 0; i < c; i++) {
        e->mean[i] = (float)mean[i];
        e->variance[i] = squares[i] > 0 ? (float)(squares[i] / rows) : squares[i] < 0 ? 0.0f : (float)squares[i];
    }
}

void fold_pieces(const sd_epilogue *e, size_t pieces, int c, float *scratch) {
    if (!e || (!e->mean && !e->product))
        return;
    const size_t width = (size_t)c, stride = partial_elems(c) / 2;
    double *partials = (double *)(void *)scratch;
    if (e->mean) {
        fold_statistics(e, pieces, width, partials, stride);
        return;
    }
    for (size_t n = 1; n < pieces; n++) {
#pragma omp simd
        for (size_t i = 1; i <= 2 * width; i++)
            partials[i] += partials[n * stride + i];
    }
    for (size_t i = 0; i < width; i++) {
        e->sum[i] = (float)partials[1 + i];
        e->sum_product[i] = (float)partials[1 + width + i];
    }
}
