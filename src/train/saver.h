/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: from a run to its checkpoint files. All ranks stop for a copy of the state in rank 0's memory; a
 * thread there makes a file of it while training goes on. What happens on the disk is known when the next checkpoint is
 * due, or the step after it has happened. */
#ifndef SDTRAIN_TRAIN_SAVER_H
#define SDTRAIN_TRAIN_SAVER_H

#include "../base/background.h"
#include "sdtrain/checkpoint.h"

typedef struct sd_run sd_run;

/* Rank 0's part in saving; snapshot and info belong to the thread while it is busy. */
typedef struct sd_saver {
    sd_background background;
    sd_snapshot snapshot;
    sd_checkpoint_info info;
    double copy_seconds, write_seconds; /* of the last save */
    int failures;                       /* in a row */
    double last_seconds;                /* clock: of the last save; on all ranks */
    double safe_accuracy;               /* of the best checkpoint on the disk */
    uint64_t safe_step;
} sd_saver;

/* Room for copies, for a run at its progress. Local: rank 0 may fail alone. */
sd_status sd_saver_open(sd_run *run);
/* Waits for what is being written. */
void sd_saver_close(sd_run *run);

/* Copies the state as it is, and lets it be written while training goes on, once the write before has ended. planned:
 * it is a checkpoint that an uninterrupted run writes too; only those may be the best. SD_ERR_IO after
 * checkpoint.max_failures in a row. Collective. */
sd_status sd_run_save(sd_run *run, bool planned);
/* Tells of a write that has failed meanwhile. Rank 0. */
sd_status sd_run_look_after_saving(sd_run *run);
/* Waits for the write under way; SD_ERR_IO if it fails. Collective. */
sd_status sd_run_finish_saving(sd_run *run);
/* Whether checkpoint.every_seconds have passed since the last one. Rank 0's clock decides; false on others. */
bool sd_run_save_is_due(const sd_run *run);

/* How long the slowest disk thought of takes for a checkpoint. */
double sd_run_file_seconds(const sd_run *run);

#endif
