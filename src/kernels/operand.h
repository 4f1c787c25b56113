/* Private to kernels/: reading an operand. */
#ifndef SDTRAIN_KERNELS_OPERAND_H
#define SDTRAIN_KERNELS_OPERAND_H

#include <math.h>

#include "panel.h"
#include "sdtrain/kernels.h"

/* The value at one place, whose channel is given. */
static inline float operand_value(const sd_operand *x, size_t at, size_t channel) {
    float value = x->u[at] * (x->a ? x->a[channel] : 1.0f);
    if (x->v)
        value += x->v[at] * (x->b ? x->b[channel] : 1.0f);
    if (x->d)
        value += x->d[channel];
    return x->relu && value < 0 ? 0.0f : value;
}

static inline bool operand_is_plain(const sd_operand *x) { return !x->a && !x->v && !x->d && !x->relu; }

/* The 16 channels from `channel` on of count pixels, the first at `at` and then every `stride` values: to[pixel][16]. */
static inline void operand_slice(const sd_operand *x, size_t at, size_t stride, size_t channel, int count,
                                 float *restrict to) {
    const float *restrict u = x->u + at;
    if (operand_is_plain(x)) {
        for (int p = 0; p < count; p++, u += stride, to += SLICE)
            for (int l = 0; l < SLICE; l++)
                to[l] = u[l];
        return;
    }
    const float least = x->relu ? 0.0f : -INFINITY;
    float a[SLICE], b[SLICE], d[SLICE];
    for (int l = 0; l < SLICE; l++) {
        a[l] = x->a ? x->a[channel + (size_t)l] : 1.0f;
        b[l] = x->b ? x->b[channel + (size_t)l] : 1.0f;
        d[l] = x->d ? x->d[channel + (size_t)l] : 0.0f;
    }
    if (x->v) {
        const float *restrict v = x->v + at;
        for (int p = 0; p < count; p++, u += stride, v += stride, to += SLICE)
            for (int l = 0; l < SLICE; l++) {
                float value = u[l] * a[l] + (v[l] * b[l] + d[l]);
                to[l] = value < least ? least : value;
            }
        return;
    }
    for (int p = 0; p < count; p++, u += stride, to += SLICE)
        for (int l = 0; l < SLICE; l++) {
            float value = u[l] * a[l] + d[l];
            to[l] = value < least ? least : value;
        }
}

#endif
