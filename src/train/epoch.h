/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: scoring, and the end of an epoch. */
#ifndef SDTRAIN_TRAIN_EPOCH_H
#define SDTRAIN_TRAIN_EPOCH_H

#include "run.h"

typedef struct sd_score {
    double loss, top1, top5;
    uint64_t images;
} sd_score;

/* Mean loss (without label smoothing) and accuracies of the first n images of a split, without augmentation. *stopped:
 * a rank was asked to stop meanwhile (by a signal, or its wall-clock budget), so that all have left after the pass
 * under way and *score holds nothing; with stopped NULL nobody asks. Collective. (score.c) */
sd_status sd_run_score(sd_run *run, sd_split split, uint64_t n, sd_score *score, bool *stopped);

/* How many images the end of the epoch under way scores. */
uint64_t sd_run_scored_images(const sd_run *run);

/* Scores the epoch whose batches are done, writes its rows, and resets its partial sums. *stopped: asked to stop while
 * it scored; then progress is what it was, and a run that goes on from there ends the epoch. Collective. */
sd_status sd_run_end_epoch(sd_run *run, bool *stopped);

#endif
