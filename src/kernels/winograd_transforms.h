/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the one-dimensional transforms of Winograd's F(4, 3) with the points 0, 1, -1, 2, -2, infinity
 * (Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", section 4.3), on vectors of channels. Values
 * of in and out are `step` vectors apart. */
#ifndef SDTRAIN_KERNELS_WINOGRAD_TRANSFORMS_H
#define SDTRAIN_KERNELS_WINOGRAD_TRANSFORMS_H

#include "tile.h"

#define TRANSFORM static inline __attribute__((always_inline)) void

/* B^T: 6 -> 6, pixels of a tile and its border. */
TRANSFORM transform_input(const vec *in, int in_step, vec *out, int out_step) {
    const vec x0 = in[0], x1 = in[in_step], x2 = in[2 * in_step], x3 = in[3 * in_step], x4 = in[4 * in_step],
              x5 = in[5 * in_step];
    const vec even = x4 - 4 * x2, odd = x3 - 4 * x1, even2 = x4 - x2, odd2 = 2 * (x3 - x1);
    out[0] = 4 * x0 - 5 * x2 + x4;
    out[out_step] = even + odd;
    out[2 * out_step] = even - odd;
    out[3 * out_step] = even2 + odd2;
    out[4 * out_step] = even2 - odd2;
    out[5 * out_step] = 4 * x1 - 5 * x3 + x5;
}

/* A^T: 6 -> 4, to the pixels of a tile. */
TRANSFORM transform_output(const vec *in, int in_step, vec *out, int out_step) {
    const vec sum = in[in_step] + in[2 * in_step], difference = in[in_step] - in[2 * in_step];
    const vec sum2 = in[3 * in_step] + in[4 * in_step], difference2 = in[3 * in_step] - in[4 * in_step];
    out[0] = in[0] + sum + sum2;
    out[out_step] = difference + 2 * difference2;
    out[2 * out_step] = sum + 4 * sum2;
    out[3 * out_step] = difference + 8 * difference2 + in[5 * in_step];
}

/* A: 4 -> 6, the gradient of the pixels of a tile. */
TRANSFORM transform_gradient(const vec *in, int in_step, vec *out, int out_step) {
    const vec y0 = in[0], y1 = in[in_step], y2 = in[2 * in_step], y3 = in[3 * in_step];
    const vec even = y0 + y2, odd = y1 + y3, even2 = y0 + 4 * y2, odd2 = 2 * y1 + 8 * y3;
    out[0] = y0;
    out[out_step] = even + odd;
    out[2 * out_step] = even - odd;
    out[3 * out_step] = even2 + odd2;
    out[4 * out_step] = even2 - odd2;
    out[5 * out_step] = y3;
}

/* G: 3 -> 6, a row of a filter. */
TRANSFORM transform_filter(const vec *in, int in_step, vec *out, int out_step) {
    const vec w0 = in[0], w1 = in[in_step], w2 = in[2 * in_step];
    const vec outer = (w0 + w2) * (-1.0f / 6), sixth = w1 * (1.0f / 6);
    const vec outer2 = w0 * (1.0f / 24) + w2 * (1.0f / 6), twelfth = w1 * (1.0f / 12);
    out[0] = w0 * 0.25f;
    out[out_step] = outer - sixth;
    out[2 * out_step] = outer + sixth;
    out[3 * out_step] = outer2 + twelfth;
    out[4 * out_step] = outer2 - twelfth;
    out[5 * out_step] = w2;
}

/* G^T: 6 -> 3, to the gradient of a row of a filter. */
TRANSFORM transform_filter_gradient(const vec *in, int in_step, vec *out, int out_step) {
    const vec sum = in[in_step] + in[2 * in_step], difference = in[2 * in_step] - in[in_step];
    const vec sum2 = in[3 * in_step] + in[4 * in_step], difference2 = in[3 * in_step] - in[4 * in_step];
    out[0] = in[0] * 0.25f - sum * (1.0f / 6) + sum2 * (1.0f / 24);
    out[out_step] = difference * (1.0f / 6) + difference2 * (1.0f / 12);
    out[2 * out_step] = (sum2 - sum) * (1.0f / 6) + in[5 * in_step];
}

#endif
