/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: one training step. */
#ifndef SDTRAIN_TRAIN_STEP_H
#define SDTRAIN_TRAIN_STEP_H

#include "run.h"

/* What some rank asks for between two steps, and all do. */
typedef struct sd_request {
    bool stop; /* a signal, or the wall-clock budget is spent */
    bool save; /* checkpoint.every_seconds */
} sd_request;

/* One training step on the loader's next batch. Collective. */
sd_status sd_run_step(sd_run *run, sd_request *request);

/* Whether the step's loss and gradients, summed over all ranks, can be used. If not: SD_ERR_DIVERGED with on_nonfinite
 * = stop or after many in a row; with skip a warning. loss: the sum; loss_here: this rank's shards'. Collective.
 * (nonfinite.c) */
sd_status sd_check_finite(const sd_session *session, const sd_trainer *trainer, sd_progress *progress, double loss,
                          double loss_here, bool *usable);

/* Gathers every rank's own decisions about the step of a batch of images, compares them with what the seed says on rank
 * 0, and writes the row of decisions.csv. Uses trainer->part. Collective. (decisions.c) */
sd_status sd_log_decisions(const sd_session *session, sd_trainer *trainer, sd_logs *logs, uint64_t step,
                           uint64_t images);

#endif
