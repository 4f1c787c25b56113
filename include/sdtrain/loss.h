/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax cross entropy between a network's logits and the targets of a batch, and top-1/top-5 counts.
 *
 * A row of logits is an image's, or a masked token's (sd_input).
 *
 * Local, and for one thread at a time. Passes cannot fail and allocate nothing. Sums go through the rows in the order
 * of the batch, so they do not depend on threads. */
#ifndef SDTRAIN_LOSS_H
#define SDTRAIN_LOSS_H

#include <stdint.h>

#include "sdtrain/batch.h"
#include "sdtrain/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_loss_spec {
    float smoothing; /* of labels, in [0, 1): targets are (1 - smoothing) onehot + smoothing / classes */
} sd_loss_spec;

/* Sums over rows of logits. A row with a logit that is not finite counts as wrong. */
typedef struct sd_loss_sums {
    double loss;
    uint64_t top1, top5; /* rows whose label has the highest logit; one of the five highest */
} sd_loss_sums;

typedef struct sd_loss sd_loss;

/* For logits of at most max_rows rows at a time. SD_ERR_MEMORY, and *loss is NULL. */
sd_status sd_loss_create(const sd_loss_spec *spec, const sd_kernels *kernels, int max_rows, int classes,
                         sd_loss **loss);
void sd_loss_destroy(sd_loss **loss);

/* Adds the rows' losses and hits to *sums. logits: [rows, classes]. */
void sd_loss_forward(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, sd_loss_sums *sums);
/* Likewise, without label smoothing: for validation. */
void sd_loss_score(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, sd_loss_sums *sums);
/* Returns dlogits: [rows, classes], the gradient of (sum of losses) / batch_rows; batch_rows: of the global batch.
 * Memory of the loss, valid until the next backward; the caller may overwrite it. */
float *sd_loss_backward(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, uint64_t batch_rows);

#ifdef __cplusplus
}
#endif
#endif
