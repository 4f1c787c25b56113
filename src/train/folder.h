/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: the files of a run's folder beside logs and checkpoints. */
#ifndef SDTRAIN_TRAIN_FOLDER_H
#define SDTRAIN_TRAIN_FOLDER_H

#include "run.h"

/* Makes the folder, writes config.ini and schedule.csv, and opens the logs, cut to where progress says, on rank 0.
 * Collective. */
sd_status sd_run_open_folder(sd_run *run);

/* summary.json of a run that has begun, or can go on no more, with no closing words. Local: rank 0 writes. */
sd_status sd_run_mark(const sd_run *run, const char *state);

/* summary.json, and the closing words on `to`. Collective. */
sd_status sd_run_summarise(sd_run *run, const char *state, FILE *to);

#endif
