/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the context of a pass, for nodes, branches and layers. */
#ifndef SDTRAIN_NN_CONTEXT_H
#define SDTRAIN_NN_CONTEXT_H

#include "sdtrain/build.h"

enum { SD_WORK_BUFFERS = 2, SD_GATHERED_BUFFERS = 3 };

/* Buffers have the largest size that a constructor requested (sd_network_want_*()). */
typedef struct sd_context {
    const sd_pass *pass;
    const sd_input *input; /* read by the first node; lengths: of the images of pass, read by attention */
    const sd_kernels *k;
    const float *values;                  /* of all tensors, at their offset_elems */
    float *gradients;                     /* likewise */
    sd_scratch scratch;                   /* for kernels */
    float *work[SD_WORK_BUFFERS];         /* for gradients within a branch, stem or head */
    float *gathered[SD_GATHERED_BUFFERS]; /* for a residual's images that keep its branch: x; y or dy; dx */
    int32_t *gathered_lengths;            /* of these images */
    const uint32_t *places;               /* of these images in the whole pass; NULL: in order (sd_dropout) */
    sd_segment_done done;                 /* backward: called by sd_segment_complete() */
    void *done_context;
    int n_segments;
} sd_context;

static inline const float *sd_value(const sd_context *context, const sd_tensor *tensor) {
    return context->values + tensor->offset_elems;
}

static inline float *sd_gradient(const sd_context *context, const sd_tensor *tensor) {
    return context->gradients + tensor->offset_elems;
}

/* Reports that all gradients of a segment are written. segment: numbered from the stem (sd_network_open_segment());
 * public numbers count from the head. */
static inline void sd_segment_complete(const sd_context *context, int segment) {
    context->done(context->done_context, context->n_segments - 1 - segment);
}

static inline size_t sd_shape_elems(sd_shape shape) { return (size_t)shape.h * (size_t)shape.w * (size_t)shape.c; }

/* Rows of an activation [rows, c] of all images of the pass. */
static inline size_t sd_rows(const sd_context *context, sd_shape shape) {
    return (size_t)context->pass->images * (size_t)shape.h * (size_t)shape.w;
}

#endif
