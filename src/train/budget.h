/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: the wall-clock time that a run may take, and how much of it is left. Local. */
#ifndef SDTRAIN_TRAIN_BUDGET_H
#define SDTRAIN_TRAIN_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/config.h"

/* Longest so far, in seconds. What has not happened yet is guessed. */
typedef struct sd_budget {
    double end; /* clock: when the program must have ended; INFINITY: whenever */
    double step, checkpoint, epoch_end;
    bool spent; /* on some rank: why the run stops */
} sd_budget;

/* run.max_seconds from the start of the program, or the end of its Slurm job (SLURM_JOB_END_TIME), whichever comes
 * first.
 * state_bytes: of a checkpoint. */
void sd_budget_begin(sd_budget *budget, const sd_config *config, size_t state_bytes);

/* Raises *longest to the seconds since begin. */
void sd_budget_note(double *longest, double begin);

/* Whether there is time left for a checkpoint only. */
bool sd_budget_is_over(const sd_budget *budget);

/* Whether the step that begins now must be the last, as after it and one more there would be no time left to save.
 * epoch_ends: with this step; scored: images that are scored then. batch: images of a step. */
bool sd_budget_spent(const sd_budget *budget, bool epoch_ends, uint64_t scored, uint64_t batch);

#endif
