/* SPDX-License-Identifier: Apache-2.0 */
/* Attention by definition, head by head. */
#include "attention.h"

#include <math.h>

#include "isa.h"
#include "table.h"

static void softmax_rows(size_t rows, size_t n, float *x) {
    for (size_t r = 0; r < rows; r++, x += n) {
        float most = x[0], sum = 0;
        for (size_t i = 1; i < n; i++)
            most = x[i] > most ? x[i] : most;
        for (size_t i = 0; i < n; i++)
            x[i] = expf(x[i] - most);
        for (size_t i = 0; i < n; i++)
            sum += x[i];
        float inverse = 1.0f / sum;
        for (size_t i = 0; i < n; i++)
            x[i] *= inverse;
    }
}

/* One head: P = softmax(Q K^T / sqrt(hd)), Y = P V. */
void SD_ISA_NAME(attention_forward)(int images, int tokens, int heads, int head_dim, const float *qkv, float *y,
                                    sd_scratch scratch) {
    const size_t t = (size_t)tokens, hd = (size_t)head_dim, d = (size_t)heads * hd;
    const float scale = 1.0f / sqrtf((float)head_dim);
    const attention_scratch s = attention_reference_layout(t, scratch);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < (size_t)images * (size_t)heads; n++) {
        size_t image = n / (size_t)heads, head = n % (size_t)heads;
        const float *q = qkv + image * t * 3 * d + head * hd, *k = q + d, *v = k + d;
        float *p = own(&s.heads);
        sd_gemm(false, true, t, t, hd, scale, q, 3 * d, k, 3 * d, 0.0f, p, t);
        softmax_rows(t, t, p);
        sd_gemm(false, false, t, hd, t, 1.0f, p, t, v, 3 * d, 0.0f, y + image * t * d + head * hd, d);
    }
}

/* dP = dY V^T;  dS = P (dP - rowsum(dP P));  dQ = dS K / sqrt(hd);  dK = dS^T Q / sqrt(hd);  dV = P^T dY. */
void SD_ISA_NAME(attention_backward)(int images, int tokens, int heads, int head_dim, const float *qkv, const float *dy,
                                     float *dqkv, sd_scratch scratch) {
    const size_t t = (size_t)tokens, hd = (size_t)head_dim, d = (size_t)heads * hd;
    const float scale = 1.0f / sqrtf((float)head_dim);
    const attention_scratch s = attention_reference_layout(t, scratch);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < (size_t)images * (size_t)heads; n++) {
        size_t image = n / (size_t)heads, head = n % (size_t)heads, at = image * t * 3 * d + head * hd;
        const float *q = qkv + at, *k = q + d, *v = k + d;
        const float *dout = dy + image * t * d + head * hd;
        float *dq = dqkv + at, *dk = dq + d, *dv = dk + d;
        float *p = own(&s.heads), *dp = p + t * t;
        sd_gemm(false, true, t, t, hd, scale, q, 3 * d, k, 3 * d, 0.0f, p, t);
        softmax_rows(t, t, p);
        sd_gemm(true, false, t, hd, t, 1.0f, p, t, dout, d, 0.0f, dv, 3 * d);
        sd_gemm(false, true, t, t, hd, 1.0f, dout, d, v, 3 * d, 0.0f, dp, t);
        for (size_t r = 0; r < t; r++) {
            float *ds = dp + r * t, dot = 0;
            const float *row = p + r * t;
            for (size_t i = 0; i < t; i++)
                dot += ds[i] * row[i];
            for (size_t i = 0; i < t; i++)
                ds[i] = row[i] * (ds[i] - dot);
        }
        sd_gemm(false, false, t, hd, t, scale, dp, t, k, 3 * d, 0.0f, dq, 3 * d);
        sd_gemm(true, false, t, hd, t, scale, dp, t, q, 3 * d, 0.0f, dk, 3 * d);
    }
}
