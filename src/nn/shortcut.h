/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the shortcut of a residual. */
#ifndef SDTRAIN_NN_SHORTCUT_H
#define SDTRAIN_NN_SHORTCUT_H

#include "layer.h"

typedef struct sd_shortcut {
    sd_shortcut_kind kind;
    sd_shape in, out;
    int stride;
    sd_conv_bn projection;
    int segment; /* of the projection */
} sd_shortcut;

/* kind, in, out and stride are set. name: of the block. SD_ERR_INTERNAL if the kind cannot lead from in to out. */
sd_status sd_shortcut_init(sd_network *network, sd_shortcut *shortcut, const char *name);

/* Returns shortcut(x): x, or y after writing it. relu: apply one after a projection; the other kinds need none, as x >=
 * 0. */
const float *sd_shortcut_forward(sd_shortcut *shortcut, const sd_context *context, const float *x, bool relu, float *y);

/* The epilogue that the caller applies to dy before sd_shortcut_backward(). */
sd_epilogue sd_shortcut_gradient_epilogue(const sd_shortcut *shortcut);

/* Returns the gradient of x through the shortcut: dy, or dx after writing it. dx may be NULL if nobody reads that. */
const float *sd_shortcut_backward(sd_shortcut *shortcut, const sd_context *context, const float *x, const float *dy,
                                  float *dx);

/* Describes the shortcut (describe.h). */
sd_status sd_shortcut_describe(const sd_shortcut *shortcut, sd_graph *graph, int *value);

#endif
