/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: reading an operand. */
#ifndef SDTRAIN_KERNELS_OPERAND_H
#define SDTRAIN_KERNELS_OPERAND_H

#include "panel.h"
#include "vec.h"

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

/* count pixels, the first at `at` and then every `stride` values: channels [channel, channel + 16 slices), each slice to its own
 * place, to[slice * slice_elems + pixel * 16]. Pixel by pixel, as that is how they lie in memory. */
static inline void operand_slices(const sd_operand *x, size_t at, size_t stride, size_t channel, int slices, int count,
                                  float *to, size_t slice_elems) {
    enum { MAX_SLICES = 8, PER_SLICE = SLICE / VL };
    vec a[MAX_SLICES * PER_SLICE], b[MAX_SLICES * PER_SLICE], d[MAX_SLICES * PER_SLICE];
    for (; slices > MAX_SLICES; slices -= MAX_SLICES) {
        operand_slices(x, at, stride, channel, MAX_SLICES, count, to, slice_elems);
        at += MAX_SLICES * SLICE;
        channel += MAX_SLICES * SLICE;
        to += MAX_SLICES * slice_elems;
    }
    if (operand_is_plain(x)) {
        for (int p = 0; p < count; p++, at += stride, to += SLICE)
            for (int s = 0; s < slices; s++) {
                UNROLL
                for (int v = 0; v < PER_SLICE; v++)
                    store(to + (size_t)s * slice_elems + v * VL, load(x->u + at + s * SLICE + v * VL));
                fetch_ahead(x->u + at + s * SLICE);
            }
        return;
    }
    for (int v = 0; v < slices * PER_SLICE; v++) {
        const size_t i = channel + (size_t)(v * VL);
        a[v] = x->a ? load(x->a + i) : same(1);
        b[v] = x->b ? load(x->b + i) : same(1);
        d[v] = x->d ? load(x->d + i) : (vec){0};
    }
    for (int p = 0; p < count; p++, at += stride, to += SLICE)
        for (int s = 0; s < slices; s++) {
            UNROLL
            for (int v = 0; v < PER_SLICE; v++) {
                const size_t here = at + (size_t)(s * SLICE + v * VL);
                const int i = s * PER_SLICE + v;
                vec value = d[i];
                if (v == 0) {
                    fetch_ahead(x->u + here);
                    if (x->v)
                        fetch_ahead(x->v + here);
                }
                if (x->v)
                    value += load(x->v + here) * b[i];
                value += load(x->u + here) * a[i];
                store(to + (size_t)s * slice_elems + v * VL, x->relu ? positive_part(value) : value);
            }
        }
}

#endif
