#include <math.h>

#include "isa.h"
#include "reduce.h"

void SD_ISA_NAME(layernorm_forward)(size_t rows, int c, const float *x, const float *gamma, const float *beta,
                                    float epsilon, float *y, float *mean, float *rstd) {
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * (size_t)c;
        float *out = y + r * (size_t)c;
        double sum = 0, square = 0;
        for (int i = 0; i < c; i++)
            sum += row[i];
        float center = (float)(sum / c);
        for (int i = 0; i < c; i++) {
            float d = row[i] - center;
            square += (double)(d * d);
        }
        float scale = (float)(1.0 / sqrt(square / c + epsilon));
        for (int i = 0; i < c; i++)
            out[i] = (row[i] - center) * scale * gamma[i] + beta[i];
        mean[r] = center;
        rstd[r] = scale;
    }
}

/* With xhat = (x - mean) rstd and g = dy gamma:  dx = rstd (g - mean(g) - xhat mean(g xhat)). */
void SD_ISA_NAME(layernorm_backward)(size_t rows, int c, const float *x, const float *dy, const float *gamma,
                                     const float *mean, const float *rstd, float *dx, float *dgamma, float *dbeta,
                                     float *scratch) {
    const size_t width = (size_t)c, chunk_rows = chunk_elems(c) / width, chunks = n_chunks(rows, c);
    double *partial = (double *)(void *)scratch;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        double *bias = partial + n * 2 * width, *weight = bias + width;
        for (size_t i = 0; i < 2 * width; i++)
            bias[i] = 0;
        for (size_t r = n * chunk_rows; r < (n + 1) * chunk_rows && r < rows; r++) {
            const float *row = x + r * width, *d = dy + r * width;
            double mean_g = 0, mean_gx = 0;
            for (size_t i = 0; i < width; i++) {
                float xhat = (row[i] - mean[r]) * rstd[r], g = d[i] * gamma[i];
                mean_g += g;
                mean_gx += (double)(g * xhat);
                bias[i] += d[i];
                weight[i] += (double)(d[i] * xhat);
            }
            float center = (float)(mean_g / c), slope = (float)(mean_gx / c);
            for (size_t i = 0; i < width; i++) {
                float xhat = (row[i] - mean[r]) * rstd[r];
                dx[r * width + i] = rstd[r] * (d[i] * gamma[i] - center - xhat * slope);
            }
        }
    }
    fold_chunks(partial, chunks, c);
    for (int i = 0; i < c; i++) {
        dbeta[i] = (float)partial[i];
        dgamma[i] = (float)partial[c + i];
    }
}
