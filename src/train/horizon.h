/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: how far a run goes, and where in it a step lies. Local, and the same on all ranks. */
#ifndef SDTRAIN_TRAIN_HORIZON_H
#define SDTRAIN_TRAIN_HORIZON_H

#include <stdbool.h>
#include <stdint.h>

#include "sdtrain/config.h"
#include "sdtrain/progress.h"

typedef struct sd_horizon {
    uint64_t first_step;    /* of this process */
    uint64_t planned_steps; /* with which the last epoch ends: those done, and those that are left */
    uint64_t total_steps;   /* the run ends after this one: planned_steps, or train.max_steps */
} sd_horizon;

/* Fits progress to epochs of so many steps, as this number of ranks has them, and sets planned_steps and total_steps to
 * what follows from it: train.epochs epochs in all, those to come of this length. */
void sd_horizon_plan(sd_horizon *horizon, sd_progress *progress, const sd_config *config, uint64_t steps_per_epoch);

/* Whether all epochs have ended, or train.max_steps are done. */
bool sd_horizon_is_reached(const sd_horizon *horizon, const sd_progress *progress, const sd_config *config,
                           uint64_t steps_per_epoch);

/* The learning rate of a batch (from 0) of the epoch under way. It follows the place in the epochs, not the count of
 * steps, of which an epoch may have had another number on other ranks. */
double sd_lr_of_batch(const sd_config *config, const sd_progress *progress, uint64_t batch, uint64_t steps_per_epoch);

/* A number for a history that begins here: a new run, or one that goes on from a file of another. Each rank draws its
 * own; rank 0's counts. */
uint64_t sd_run_id_draw(void);

#endif
