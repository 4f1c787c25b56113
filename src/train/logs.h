/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: the four logs of a run's folder. Local; rank 0 has them. Errors: SD_ERR_IO with the file's
 * path. */
#ifndef SDTRAIN_TRAIN_LOGS_H
#define SDTRAIN_TRAIN_LOGS_H

#include <stdbool.h>
#include <stdint.h>

#include "sdtrain/csv.h"
#include "sdtrain/progress.h"
#include "timing.h"

/* X(ENUMERATOR, word, key): the file is WORD.csv; sd_progress holds its length, WORD_csv_bytes, and the key of its last
 * row. */
#define SD_LOG_LIST(X)                                                                                                 \
    X(STEPS, steps, step)                                                                                              \
    X(EPOCHS, epochs, epoch)                                                                                           \
    X(TIMING, timing, epoch)                                                                                           \
    X(DECISIONS, decisions, step)
typedef enum sd_log {
#define SD_LOG_ENUM(upper, lower, key) SD_LOG_##upper,
    SD_LOG_LIST(SD_LOG_ENUM)
#undef SD_LOG_ENUM
        SD_LOGS
} sd_log;

typedef struct sd_logs {
    sd_csv csv[SD_LOGS];
} sd_logs;

/* Opens them to go on behind the rows of a run at its progress; decisions.csv only if it is wanted. */
sd_status sd_logs_open(sd_logs *logs, const char *folder, const sd_progress *progress, bool decisions);
void sd_logs_close(sd_logs *logs);

/* Notes the lengths in progress; of a log that is not open the length stays what it was. */
sd_status sd_logs_measure(sd_logs *logs, sd_progress *progress);
/* To the disk; also while another thread adds rows. */
sd_status sd_logs_sync(const sd_logs *logs);

/* Whether the folder's logs are, up to the progress, as long as it says: of its history. Decisions are not looked at,
 * as they may be logged or not. */
bool sd_logs_fit(const char *folder, const sd_progress *progress);
/* Renames the logs of another history to WORD.csv.aside. */
sd_status sd_logs_set_aside(const char *folder);
/* As of a run that has none. */
void sd_logs_forget(sd_progress *progress);

/* ---- rows ---- */

/* A row of steps.csv; means are over the images of the batch. */
typedef struct sd_step_row {
    uint64_t step, epoch; /* from 1 */
    double lr, loss, accuracy;
    int branches;
    double kept; /* branches computed for an image, on average */
    size_t bytes_reduced, bytes_full;
    double seconds, images_per_second;
} sd_step_row;
sd_status sd_logs_step(sd_logs *logs, const sd_step_row *row);

/* The epoch that progress has just completed. lr: of its last step. */
sd_status sd_logs_epoch(sd_logs *logs, const sd_progress *progress, double lr);

/* A rank's seconds in that epoch. */
sd_status sd_logs_timing(sd_logs *logs, uint64_t epoch, int rank, const char *host, const double seconds[SD_PHASES]);

/* kept: one word (decisions.c). */
sd_status sd_logs_decisions(sd_logs *logs, uint64_t step, const char *kept);

#endif
