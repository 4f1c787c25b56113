/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: evaluation of operands. */
#ifndef SDTRAIN_KERNELS_OPERAND_H
#define SDTRAIN_KERNELS_OPERAND_H

#include "isa.h"
#include "panel.h"

/* The value at one place, of the given channel. */
static inline float operand_value(const sd_operand *x, size_t at, size_t channel) {
    float value = x->u[at] * (x->a ? x->a[channel] : 1.0f);
    if (x->v)
        value += x->v[at] * (x->b ? x->b[channel] : 1.0f);
    if (x->d)
        value += x->d[channel];
    return x->relu && value < 0 ? 0.0f : value;
}

static inline bool operand_is_plain(const sd_operand *x) { return !x->a && !x->v && !x->d && !x->relu; }

/* Evaluates channels [channel, channel + 16 slices) of count pixels, which begin at `at`, `stride` values apart, into
 * to[slice * slice_elems + pixel * 16]. */
void operand_slices(const sd_operand *x, size_t at, size_t stride, size_t channel, int slices, int count, float *to,
                    size_t slice_elems);

/* Evaluates columns [column, column + columns) of rows [first, first + rows) of x [*, c] into y[row][columns]. y may be
 * the part of u or v that it reads. */
void evaluate_block(const sd_operand *x, size_t first, size_t rows, size_t c, size_t column, size_t columns, float *y);

#endif
