/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "chunk.h"
#include "isa.h"
#include "panel.h"
#include "table.h"

/* Sums over a row run in 16 lanes, added up at the end in a fixed order: they vectorise, and rounding errors grow with
 * c / 16 only. */
static inline float sum_lanes(const float *lane) {
    float sum = 0;
    for (int l = 0; l < SLICE; l++)
        sum += lane[l];
    return sum;
}

/* Executes the statement for each value i of a row, in lane l = i % SLICE. */
#define FOR_ROW(c, ...)                                                                                                \
    do {                                                                                                               \
        size_t at = 0;                                                                                                 \
        for (; at + SLICE <= (c); at += SLICE)                                                                         \
            _Pragma("omp simd") for (int l = 0; l < SLICE; l++) {                                                      \
                const size_t i = at + (size_t)l;                                                                       \
                __VA_ARGS__;                                                                                           \
            }                                                                                                          \
        for (int l = 0; l < (int)((c)-at); l++) {                                                                      \
            const size_t i = at + (size_t)l;                                                                           \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

void SD_ISA_NAME(layernorm_statistics)(size_t rows, int c, const float *x, float epsilon, float *mean, float *rstd) {
    const size_t width = (size_t)c;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * width;
        float sum[SLICE] = {0}, square[SLICE] = {0};
        FOR_ROW(width, sum[l] += row[i]);
        const float center = sum_lanes(sum) / (float)c;
        FOR_ROW(width, square[l] += (row[i] - center) * (row[i] - center));
        mean[r] = center;
        rstd[r] = 1.0f / sqrtf(sum_lanes(square) / (float)c + epsilon);
    }
}

/* With xhat = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean(g) - xhat mean(g xhat)). Sums dy into bias and dy
 * xhat into weight. */
static void backward_row(size_t c, const float *restrict x, const float *restrict dy, const float *restrict gamma,
                         float mean, float rstd, const float *add, float *dx, float *restrict bias,
                         float *restrict weight) {
    float sum_g[SLICE] = {0}, sum_gx[SLICE] = {0};
    FOR_ROW(c, {
        const float xhat = (x[i] - mean) * rstd, g = dy[i] * gamma[i];
        sum_g[l] += g;
        sum_gx[l] += g * xhat;
        bias[i] += dy[i];
        weight[i] += dy[i] * xhat;
    });
    const float center = sum_lanes(sum_g) / (float)c, slope = sum_lanes(sum_gx) / (float)c;
    if (add)
        FOR_ROW(c, dx[i] = add[i] + rstd * (dy[i] * gamma[i] - center - (x[i] - mean) * rstd * slope));
    else
        FOR_ROW(c, dx[i] = rstd * (dy[i] * gamma[i] - center - (x[i] - mean) * rstd * slope));
}

void SD_ISA_NAME(layernorm_backward)(size_t rows, int c, const float *x, const float *dy, const float *gamma,
                                     const float *mean, const float *rstd, const float *add, float *dx, float *dgamma,
                                     float *dbeta, sd_scratch scratch) {
    const size_t width = (size_t)c, some = chunk_rows(c), chunks = n_chunks(rows, c);
    const size_t partial_elems = layernorm_partial_elems(c);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < chunks; n++) {
        float *bias = scratch.memory + n * partial_elems, *weight = bias + width;
        memset(bias, 0, partial_elems * sizeof(float));
        for (size_t r = n * some; r < (n + 1) * some && r < rows; r++) {
            const size_t at = r * width;
            backward_row(width, x + at, dy + at, gamma, mean[r], rstd[r], add ? add + at : NULL, dx + at, bias, weight);
        }
    }
    for (size_t i = 0; i < width; i++) {
        double bias = 0, weight = 0;
        for (size_t n = 0; n < chunks; n++) {
            bias += scratch.memory[n * partial_elems + i];
            weight += scratch.memory[n * partial_elems + width + i];
        }
        dbeta[i] = (float)bias;
        dgamma[i] = (float)weight;
    }
}
