/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "isa.h"
#include "table.h"

enum { WINDOW = 3, STRIDE = 2, PAD = 1 };

static int pooled(int n) { return (n + 2 * PAD - WINDOW) / STRIDE + 1; }

void SD_ISA_NAME(maxpool_forward)(int images, int h, int w, int c, const float *x, float *y) {
    const int oh = pooled(h), ow = pooled(w);
    const size_t width = (size_t)c;
#pragma omp parallel for schedule(static)
    for (int row = 0; row < images * oh; row++)
        for (int q = 0; q < ow; q++) {
            float *out = y + ((size_t)row * (size_t)ow + (size_t)q) * width;
            bool first = true;
            for (int i = 0; i < WINDOW; i++)
                for (int j = 0; j < WINDOW; j++) {
                    int ih = row % oh * STRIDE + i - PAD, iw = q * STRIDE + j - PAD;
                    if (ih < 0 || ih >= h || iw < 0 || iw >= w)
                        continue;
                    const float *in = x + ((size_t)(row / oh * h + ih) * (size_t)w + (size_t)iw) * width;
                    for (size_t k = 0; k < width; k++)
                        out[k] = first || in[k] > out[k] || in[k] != in[k] ? in[k] : out[k];
                    first = false;
                }
        }
}

/* Finds the maximum of each window again: the first in row order. */
void SD_ISA_NAME(maxpool_backward)(int images, int h, int w, int c, const float *x, const float *dy, float *dx) {
    const int oh = pooled(h), ow = pooled(w);
    const size_t width = (size_t)c, image_elems = (size_t)h * (size_t)w * width;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < images; n++) {
        const float *image = x + (size_t)n * image_elems;
        float *dimage = dx + (size_t)n * image_elems;
        memset(dimage, 0, image_elems * sizeof(float));
        for (int p = 0; p < oh; p++)
            for (int q = 0; q < ow; q++)
                for (size_t k = 0; k < width; k++) {
                    size_t best = SIZE_MAX;
                    for (int i = 0; i < WINDOW; i++)
                        for (int j = 0; j < WINDOW; j++) {
                            int ih = p * STRIDE + i - PAD, iw = q * STRIDE + j - PAD;
                            if (ih < 0 || ih >= h || iw < 0 || iw >= w)
                                continue;
                            size_t at = ((size_t)ih * (size_t)w + (size_t)iw) * width + k;
                            if (best == SIZE_MAX || image[at] > image[best])
                                best = at;
                        }
                    dimage[best] += dy[(((size_t)n * (size_t)oh + (size_t)p) * (size_t)ow + (size_t)q) * width + k];
                }
    }
}

void SD_ISA_NAME(avgpool_forward)(int images, int pixels, int c, const float *x, float *y) {
    for (int n = 0; n < images; n++) {
        float *out = y + (size_t)n * (size_t)c;
        memset(out, 0, (size_t)c * sizeof(float));
        for (int p = 0; p < pixels; p++, x += c)
            for (int i = 0; i < c; i++)
                out[i] += x[i];
        for (int i = 0; i < c; i++)
            out[i] /= (float)pixels;
    }
}

void SD_ISA_NAME(avgpool_backward)(int images, int pixels, int c, const float *dy, float *dx) {
    const float scale = 1.0f / (float)pixels;
    for (int n = 0; n < images; n++, dy += c)
        for (int p = 0; p < pixels; p++, dx += c)
            for (int i = 0; i < c; i++)
                dx[i] = dy[i] * scale;
}

void SD_ISA_NAME(subsample_forward)(int images, int h, int w, int c, int stride, int k, const float *x, float *y) {
    for (int n = 0; n < images; n++)
        for (int i = 0; i < h; i += stride)
            for (int j = 0; j < w; j += stride, y += k) {
                memcpy(y, x + ((size_t)(n * h + i) * (size_t)w + (size_t)j) * (size_t)c, (size_t)c * sizeof(float));
                memset(y + c, 0, (size_t)(k - c) * sizeof(float));
            }
}

void SD_ISA_NAME(subsample_backward)(int images, int h, int w, int c, int stride, int k, const float *dy, float *dx) {
    for (int n = 0; n < images; n++)
        for (int i = 0; i < h; i++)
            for (int j = 0; j < w; j++, dx += c) {
                if (i % stride || j % stride) {
                    memset(dx, 0, (size_t)c * sizeof(float));
                } else {
                    memcpy(dx, dy, (size_t)c * sizeof(float));
                    dy += k;
                }
            }
}
