/* SPDX-License-Identifier: Apache-2.0 */
/* Private: a pass as nodes, branches and layers see it. */
#ifndef SDTRAIN_NN_CONTEXT_H
#define SDTRAIN_NN_CONTEXT_H

#include "sdtrain/build.h"

enum { SD_WORK_BUFFERS = 2, SD_GATHERED_BUFFERS = 3 };

/* Buffers hold the largest that anyone has asked for (sd_network_want_work() and its like). */
typedef struct sd_context {
    const sd_pass *pass;
    const sd_input *input; /* what the first node reads */
    const sd_kernels *k;
    const float *values;                  /* of all tensors, each at its offset_elems */
    float *gradients;                     /* likewise */
    sd_scratch scratch;                   /* for kernels */
    float *work[SD_WORK_BUFFERS];         /* for a branch's, a stem's or a head's own gradients */
    float *gathered[SD_GATHERED_BUFFERS]; /* x, y or dy, and dx of a branch that some images keep; not for branches */
    sd_segment_done done;                 /* backward: see sd_segment_complete() */
    void *done_context;
    int n_segments;
} sd_context;

static inline const float *sd_value(const sd_context *context, const sd_tensor *tensor) {
    return context->values + tensor->offset_elems;
}

static inline float *sd_gradient(const sd_context *context, const sd_tensor *tensor) {
    return context->gradients + tensor->offset_elems;
}

/* Says that all gradients of a segment are written. segment: as sd_network_open_segment() numbered it, from the stem
 * on; the world counts from the head on. */
static inline void sd_segment_complete(const sd_context *context, int segment) {
    context->done(context->done_context, context->n_segments - 1 - segment);
}

static inline size_t sd_shape_elems(sd_shape shape) { return (size_t)shape.h * (size_t)shape.w * (size_t)shape.c; }

/* Rows of an activation, of all images of the pass: [rows, c]. */
static inline size_t sd_rows(const sd_context *context, sd_shape shape) {
    return (size_t)context->pass->images * (size_t)shape.h * (size_t)shape.w;
}

#endif
