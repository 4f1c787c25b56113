/* SPDX-License-Identifier: Apache-2.0 */
/* Batch norm's coefficients per channel; operands and epilogues loop over values. */
#include <math.h>

#include "sdtrain/kernels.h"

static float rstd_of(float variance, float epsilon) { return (float)(1 / sqrt((double)variance + (double)epsilon)); }

void sd_batchnorm_forward(int c, const float *mean, const float *variance, float epsilon, const float *gamma,
                          const float *beta, float scale, float *a, float *d) {
    for (int i = 0; i < c; i++) {
        a[i] = scale * gamma[i] * rstd_of(variance[i], epsilon);
        d[i] = scale * beta[i] - mean[i] * a[i];
    }
}

/* With xhat = (x - mean) rstd over m rows and dy already times scale:  dbeta = sum dy,  dgamma = sum dy xhat,
 * dx = gamma rstd (dy - dbeta / m - xhat dgamma / m). */
void sd_batchnorm_backward(size_t rows, int c, const float *mean, const float *variance, float epsilon,
                           const float *gamma, float scale, const float *sum, const float *sum_product, float *dgamma,
                           float *dbeta, float *a, float *b, float *d) {
    for (int i = 0; i < c; i++) {
        const float rstd = rstd_of(variance[i], epsilon), slope = gamma[i] * rstd;
        dbeta[i] = scale * sum[i];
        dgamma[i] = scale * sum_product[i] * rstd;
        a[i] = scale * slope;
        b[i] = -slope * rstd * dgamma[i] / (float)rows;
        d[i] = -slope * dbeta[i] / (float)rows - b[i] * mean[i];
    }
}
