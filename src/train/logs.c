/* SPDX-License-Identifier: Apache-2.0 */
#include "logs.h"

#include <string.h>
#include <unistd.h>

#include "sdtrain/file.h"

/* Each of these headers stands again, as a row, below. */
#define TIMING_COLUMN(upper, lower) #lower ","
static const struct {
    const char *name, *header;
} files[] = {
    [SD_LOG_STEPS] = {"steps.csv", "step,epoch,lr,loss,accuracy,branches,kept,bytes_reduced,bytes_full,seconds,"
                                   "images_per_second"},
    [SD_LOG_EPOCHS] = {"epochs.csv", "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,"
                                     "train_eval_accuracy,gap,kept_fraction,seconds,images_per_second"},
    [SD_LOG_TIMING] = {"timing.csv", "epoch,rank,host," SD_WORK_PHASE_LIST(TIMING_COLUMN) "other,total,wait"},
    [SD_LOG_DECISIONS] = {"decisions.csv", "step,kept"},
};

sd_status sd_logs_step(sd_logs *logs, const sd_step_row *row) {
    char loss[32];
    return sd_csv_row(&logs->csv[SD_LOG_STEPS], "%llu,%llu,%.9g,%s,%.9g,%d,%.9g,%zu,%zu,%.6f,%.3f\n",
                      (unsigned long long)row->step, (unsigned long long)row->epoch, row->lr,
                      sd_csv_number(row->loss, loss), row->accuracy, row->branches, row->kept, row->bytes_reduced,
                      row->bytes_full, row->seconds, row->images_per_second);
}

sd_status sd_logs_epoch(sd_logs *logs, const sd_progress *p, double lr) {
    char train_loss[32], train_accuracy[32], val_loss[32], val_accuracy[32], val_top5[32], train_eval[32], gap[32],
        kept[32];
    return sd_csv_row(&logs->csv[SD_LOG_EPOCHS], "%llu,%llu,%.9g,%s,%s,%s,%s,%s,%s,%s,%s,%.6f,%.3f\n",
                      (unsigned long long)p->epoch, (unsigned long long)p->step, lr,
                      sd_csv_number(p->train_loss, train_loss), sd_csv_number(p->train_accuracy, train_accuracy),
                      sd_csv_number(p->val_loss, val_loss), sd_csv_number(p->val_accuracy, val_accuracy),
                      sd_csv_number(p->val_top5_accuracy, val_top5), sd_csv_number(p->train_eval_accuracy, train_eval),
                      sd_csv_number(p->train_eval_accuracy - p->val_accuracy, gap),
                      sd_csv_number(p->epoch_kept / (double)p->epoch_decisions, kept), p->epoch_seconds,
                      (double)p->epoch_images / p->epoch_seconds);
}

sd_status sd_logs_timing(sd_logs *logs, uint64_t epoch, int rank, const char *host, const double seconds[SD_PHASES]) {
    char fields[SD_PHASES * 24] = "";
    double other = seconds[SD_PHASE_TOTAL] - seconds[SD_PHASE_WAIT];
    size_t used = 0;
    for (int phase = 0; phase < SD_PHASE_WAIT; phase++) {
        used += (size_t)snprintf(fields + used, sizeof fields - used, "%.6f,", seconds[phase]);
        other -= seconds[phase];
    }
    return sd_csv_row(&logs->csv[SD_LOG_TIMING], "%llu,%d,%s,%s%.6f,%.6f,%.6f\n", (unsigned long long)epoch, rank, host,
                      fields, other > 0 ? other : 0, seconds[SD_PHASE_TOTAL], seconds[SD_PHASE_WAIT]);
}

sd_status sd_logs_decisions(sd_logs *logs, uint64_t step, const char *kept) {
    return sd_csv_row(&logs->csv[SD_LOG_DECISIONS], "%llu,%s\n", (unsigned long long)step, kept);
}

/* ---- the files ---- */

static uint64_t *length_in(sd_progress *progress, int log) {
    uint64_t *const lengths[] = {
#define LENGTH(upper, lower, key) &progress->lower##_csv_bytes,
        SD_LOG_LIST(LENGTH)
#undef LENGTH
    };
    return lengths[log];
}

static uint64_t key_in(const sd_progress *progress, int log) {
    const uint64_t keys[] = {
#define KEY(upper, lower, key) progress->key,
        SD_LOG_LIST(KEY)
#undef KEY
    };
    return keys[log];
}

sd_status sd_logs_open(sd_logs *logs, const char *folder, const sd_progress *progress, bool decisions) {
    sd_progress p = *progress;
    for (int log = 0; log < SD_LOGS; log++)
        if (log != SD_LOG_DECISIONS || decisions)
            SD_TRY(sd_csv_open(&logs->csv[log], folder, files[log].name, files[log].header, key_in(&p, log),
                               *length_in(&p, log)));
    return SD_OK;
}

void sd_logs_close(sd_logs *logs) {
    for (int log = 0; log < SD_LOGS; log++)
        sd_csv_close(&logs->csv[log]);
}

sd_status sd_logs_measure(sd_logs *logs, sd_progress *progress) {
    for (int log = 0; log < SD_LOGS; log++)
        if (logs->csv[log].file)
            SD_TRY(sd_csv_length(&logs->csv[log], length_in(progress, log)));
    return SD_OK;
}

sd_status sd_logs_sync(const sd_logs *logs) {
    for (int log = 0; log < SD_LOGS; log++)
        SD_TRY(sd_csv_sync(&logs->csv[log]));
    return SD_OK;
}

bool sd_logs_fit(const char *folder, const sd_progress *progress) {
    sd_progress p = *progress;
    if (p.steps_csv_bytes == 0)
        return false;
    for (int log = 0; log < SD_LOGS; log++)
        if (log != SD_LOG_DECISIONS &&
            sd_csv_bytes_up_to(folder, files[log].name, key_in(&p, log)) != *length_in(&p, log))
            return false;
    return true;
}

sd_status sd_logs_set_aside(const char *folder) {
    char path[sizeof((sd_csv *)0)->path], aside[sizeof path + 16];
    for (int log = 0; log < SD_LOGS; log++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[log].name);
        snprintf(aside, sizeof aside, "%s.aside", path);
        if (access(path, F_OK) == 0)
            SD_TRY(sd_file_rename(path, aside));
    }
    return SD_OK;
}

void sd_logs_forget(sd_progress *progress) {
    for (int log = 0; log < SD_LOGS; log++)
        *length_in(progress, log) = 0;
}
