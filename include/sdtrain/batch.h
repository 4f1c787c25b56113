/* SPDX-License-Identifier: Apache-2.0 */
/* A batch as network and loss see it: input and targets; and what the ranks know of it before the step.
 *
 * All are views: they own no memory. */
#ifndef SDTRAIN_BATCH_H
#define SDTRAIN_BATCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pictures or tokens, never both; NULL where not used. */
typedef struct sd_input {
    const float *pixels;    /* [images, height, width, channels] f32, NHWC */
    const int32_t *tokens;  /* [images, sequence] ids, padded behind with the id of [PAD] */
    const int32_t *lengths; /* [images], 2..sequence: what lies behind is seen by nobody */
    const int32_t *second;  /* [images], where a pair's second text begins (its tokens have type 1); lengths[i] if
                             * there is none */
    /* Masked tokens, which a masked language model predicts; NULL: none are. */
    const int32_t *masked;      /* image * sequence + token, ascending */
    const int32_t *masked_ends; /* [images]: how many there are up to the end of each image */
} sd_input;

/* What a network predicts of the first images, a row of logits each: one an image, or their masked tokens. */
static inline int sd_input_predictions(const sd_input *input, int images) {
    if (!input->masked)
        return images;
    return images > 0 ? input->masked_ends[images - 1] : 0;
}

/* Rows of a table of embeddings, ascending. */
typedef struct sd_row_set {
    size_t n;
    const int32_t *row; /* [n] */
} sd_row_set;

/* What the rows of logits are compared with: of each image its class, of each masked token its id before it was masked;
 * in 0..classes-1. others and weights are both set or both NULL; then labels alone count. Mixed pictures
 * have two classes: loss = weight CE(label) + (1 - weight) CE(other). */
typedef struct sd_targets {
    const int32_t *labels; /* [rows] */
    const int32_t *others; /* [rows] */
    const float *weights;  /* [rows], in 0..1 */
} sd_targets;

#ifdef __cplusplus
}
#endif
#endif
