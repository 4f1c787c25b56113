#include <math.h>
#include <string.h>

#include "isa.h"
#include "reduce.h"

/* Sums are taken of x - x[0], which keeps the difference of squares from cancelling when a mean is far from zero. */
void SD_ISA_NAME(batchnorm_statistics)(size_t rows, int c, const float *x, float *mean, float *variance,
                                       float *scratch) {
    const size_t elems = rows * (size_t)c, strip = strip_elems(c), chunk = chunk_elems(c), chunks = n_chunks(rows, c);
    double *partial = (double *)(void *)scratch;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        float shift[MAX_STRIP], sum[MAX_STRIP], square[MAX_STRIP];
        for (size_t j = 0; j < strip; j++) {
            shift[j] = x[j % (size_t)c];
            sum[j] = square[j] = 0;
        }
        size_t end = (n + 1) * chunk < elems ? (n + 1) * chunk : elems;
        for (size_t at = n * chunk; at < end; at += strip) {
            size_t valid = end - at < strip ? end - at : strip;
            for (size_t j = 0; j < valid; j++) {
                float d = x[at + j] - shift[j];
                sum[j] += d;
                square[j] += d * d;
            }
        }
        fold_strips(sum, square, c, partial + n * 2 * (size_t)c);
    }
    fold_chunks(partial, chunks, c);
    for (int i = 0; i < c; i++) {
        double m = partial[i] / (double)rows, v = partial[c + i] / (double)rows - m * m;
        mean[i] = (float)(x[i] + m);
        variance[i] = v > 0 ? (float)v : 0.0f;
    }
}

void SD_ISA_NAME(batchnorm_apply)(size_t rows, int c, const float *x, const float *mean, const float *variance,
                                  float epsilon, const float *gamma, const float *beta, bool relu, float *y) {
    const size_t elems = rows * (size_t)c, strip = strip_elems(c), chunk = chunk_elems(c), chunks = n_chunks(rows, c);
    const float least = relu ? 0.0f : -INFINITY;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        float slope[MAX_STRIP], offset[MAX_STRIP];
        for (size_t j = 0; j < strip; j++) {
            size_t i = j % (size_t)c;
            slope[j] = gamma[i] / sqrtf(variance[i] + epsilon);
            offset[j] = beta[i] - mean[i] * slope[j];
        }
        size_t end = (n + 1) * chunk < elems ? (n + 1) * chunk : elems;
        for (size_t at = n * chunk; at < end; at += strip) {
            size_t valid = end - at < strip ? end - at : strip;
            for (size_t j = 0; j < valid; j++) {
                float value = x[at + j] * slope[j] + offset[j];
                y[at + j] = value < least ? least : value; /* NaN stays NaN */
            }
        }
    }
}

/* With xhat = (x - mean) rstd over m rows:  dbeta = sum dy,  dgamma = sum dy xhat,
 * dx = gamma rstd (dy - dbeta/m - xhat dgamma/m). */
void SD_ISA_NAME(batchnorm_backward)(size_t rows, int c, const float *x, const float *y, const float *dy,
                                     const float *mean, const float *variance, float epsilon, const float *gamma,
                                     float *dx, float *dgamma, float *dbeta, float *scratch) {
    const size_t elems = rows * (size_t)c, strip = strip_elems(c), chunk = chunk_elems(c), chunks = n_chunks(rows, c);
    double *partial = (double *)(void *)scratch;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        float center[MAX_STRIP], sum[MAX_STRIP], product[MAX_STRIP];
        for (size_t j = 0; j < strip; j++) {
            center[j] = mean[j % (size_t)c];
            sum[j] = product[j] = 0;
        }
        size_t end = (n + 1) * chunk < elems ? (n + 1) * chunk : elems;
        for (size_t at = n * chunk; at < end; at += strip) {
            size_t valid = end - at < strip ? end - at : strip;
            if (y) {
                for (size_t j = 0; j < valid; j++) {
                    float d = y[at + j] > 0 ? dy[at + j] : 0.0f;
                    sum[j] += d;
                    product[j] += d * (x[at + j] - center[j]);
                }
            } else {
                for (size_t j = 0; j < valid; j++) {
                    sum[j] += dy[at + j];
                    product[j] += dy[at + j] * (x[at + j] - center[j]);
                }
            }
        }
        fold_strips(sum, product, c, partial + n * 2 * (size_t)c);
    }
    fold_chunks(partial, chunks, c);
    for (int i = 0; i < c; i++) {
        dbeta[i] = (float)partial[i];
        dgamma[i] = (float)(partial[c + i] / sqrt((double)variance[i] + epsilon));
    }
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        float slope[MAX_STRIP], linear[MAX_STRIP], constant[MAX_STRIP]; /* dx = slope dy - linear x - constant */
        for (size_t j = 0; j < strip; j++) {
            size_t i = j % (size_t)c;
            float rstd = 1.0f / sqrtf(variance[i] + epsilon);
            slope[j] = gamma[i] * rstd;
            linear[j] = slope[j] * rstd * dgamma[i] / (float)rows;
            constant[j] = slope[j] * dbeta[i] / (float)rows - linear[j] * mean[i];
        }
        size_t end = (n + 1) * chunk < elems ? (n + 1) * chunk : elems;
        for (size_t at = n * chunk; at < end; at += strip) {
            size_t valid = end - at < strip ? end - at : strip;
            if (y) {
                for (size_t j = 0; j < valid; j++) {
                    float d = y[at + j] > 0 ? dy[at + j] : 0.0f;
                    dx[at + j] = slope[j] * d - linear[j] * x[at + j] - constant[j];
                }
            } else {
                for (size_t j = 0; j < valid; j++)
                    dx[at + j] = slope[j] * dy[at + j] - linear[j] * x[at + j] - constant[j];
            }
        }
    }
}
