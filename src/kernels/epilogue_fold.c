/* SPDX-License-Identifier: Apache-2.0 */
#include "epilogue.h"

/* Means and squares of pieces are put together as Chan, Golub & LeVeque 1983 do. */
static void fold_statistics(const sd_epilogue *e, size_t pieces, int c, const double *partials, size_t stride) {
    const size_t width = (size_t)c;
    for (size_t i = 0; i < width; i++) {
        double rows = 0, mean = 0, squares = 0;
        for (size_t n = 0; n < pieces; n++) {
            const double *partial = partials + n * stride, difference = partial[1 + i] - mean, all = rows + partial[0];
            mean += difference * partial[0] / all;
            squares += partial[1 + width + i] + difference * difference * rows * partial[0] / all;
            rows = all;
        }
        e->mean[i] = (float)mean;
        e->variance[i] = squares > 0 ? (float)(squares / rows) : squares < 0 ? 0.0f : (float)squares;
    }
}

void fold_pieces(const sd_epilogue *e, size_t pieces, int c, float *scratch) {
    if (!e || (!e->mean && !e->product))
        return;
    const size_t width = (size_t)c, stride = partial_elems(c) / 2;
    double *partials = (double *)(void *)scratch;
    if (e->mean) {
        fold_statistics(e, pieces, c, partials, stride);
        return;
    }
    for (size_t n = 1; n < pieces; n++)
        for (size_t i = 1; i <= 2 * width; i++)
            partials[i] += partials[n * stride + i];
    for (size_t i = 0; i < width; i++) {
        e->sum[i] = (float)partials[1 + i];
        e->sum_product[i] = (float)partials[1 + width + i];
    }
}
