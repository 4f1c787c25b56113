/* SPDX-License-Identifier: Apache-2.0 */
#include "epoch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

/* The images that the end of the epoch under way scores, of both splits. */
static void count_scored(const sd_run *run, uint64_t *validation, uint64_t *training) {
    const uint64_t every = (uint64_t)run->session.config->eval.every_epochs, epoch = run->progress.epoch + 1;
    const uint64_t wanted = (uint64_t)run->session.config->eval.train_samples;
    const uint64_t images = sd_dataset_images(run->pipeline.dataset, SD_SPLIT_TRAIN);
    const bool due = every > 0 && (epoch % every == 0 || epoch == (uint64_t)run->session.config->train.epochs);
    *validation = due ? sd_dataset_images(run->pipeline.dataset, SD_SPLIT_VALIDATION) : 0;
    *training = !due ? 0 : wanted < images ? wanted : images;
}

uint64_t sd_run_scored_images(const sd_run *run) {
    uint64_t validation, training;
    count_scored(run, &validation, &training);
    return validation + training;
}

/* What is not scored is NAN. */
static sd_status score_epoch(sd_run *run, sd_score *validation, sd_score *training, bool *stopped) {
    uint64_t n_validation, n_training;
    count_scored(run, &n_validation, &n_training);
    *validation = *training = (sd_score){.loss = NAN, .top1 = NAN, .top5 = NAN};
    if (n_validation > 0) {
        SD_TRY(sd_run_score(run, SD_SPLIT_VALIDATION, n_validation, validation, stopped));
        if (!*stopped && !isfinite(validation->loss))
            sd_log_warn("after step %llu the validation loss is not finite: either training diverges, or after so few "
                        "steps batch norm's running statistics are still far from the batches'",
                        (unsigned long long)run->progress.step);
    }
    if (n_training > 0 && !*stopped)
        SD_TRY(sd_run_score(run, SD_SPLIT_TRAIN, n_training, training, stopped));
    return SD_OK;
}

/* Rows of timing.csv, and the phases begin anew. Collective. */
static sd_status write_timing(sd_run *run) {
    sd_comm *comm = run->session.comm;
    sd_timing *timing = &run->record.timing;
    const int ranks = sd_comm_size(comm);
    const bool root = sd_session_is_root(&run->session);
    double mine[SD_PHASES], *all = NULL; /* all: [ranks][SD_PHASES] */
    sd_timing_count(timing);
    memcpy(mine, timing->seconds, sizeof mine);
    memset(timing->seconds, 0, sizeof timing->seconds);
    sd_status status = root ? sd_alloc(&all, (size_t)ranks * SD_PHASES, sizeof *all) : SD_OK;
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_gather(comm, mine, sizeof mine, all));
    for (int rank = 0; root && status == SD_OK && rank < ranks; rank++)
        status = sd_logs_timing(&run->record.logs, run->progress.epoch, rank, sd_comm_host_of(comm, rank),
                                all + (size_t)rank * SD_PHASES);
    free(all);
    return status;
}

static void show_epoch(sd_run *run, double lr) {
    const sd_progress *p = &run->progress;
    char validation[96] = "", n[5][32];
    if (!isnan(p->val_accuracy))
        snprintf(validation, sizeof validation, "  val loss %s accuracy %s",
                 sd_console_number(p->val_loss, 4, "", n[0]), sd_console_number(100 * p->val_accuracy, 2, " %", n[1]));
    sd_console_line(&run->record.console,
                    "epoch %llu/%lld  step %llu  lr %.4g  train loss %s accuracy %s%s  kept %s  %.0f images/s  %.1f s",
                    (unsigned long long)p->epoch, (long long)run->session.config->train.epochs,
                    (unsigned long long)p->step, lr, sd_console_number(p->train_loss, 4, "", n[2]),
                    sd_console_number(100 * p->train_accuracy, 2, " %", n[3]), validation,
                    sd_console_number(100 * p->epoch_kept / (double)p->epoch_decisions, 1, " %", n[4]),
                    (double)p->epoch_images / p->epoch_seconds, p->epoch_seconds);
}

static void take_scores(sd_progress *p, const sd_score *validation, const sd_score *training) {
    p->val_loss = validation->loss;
    p->val_accuracy = validation->top1;
    p->val_top5_accuracy = validation->top5;
    p->train_eval_accuracy = training->top1;
    if (!isnan(p->val_accuracy) && !(p->best_val_accuracy >= p->val_accuracy)) {
        p->best_val_accuracy = p->val_accuracy;
        p->best_val_epoch = p->epoch;
    }
}

sd_status sd_run_end_epoch(sd_run *run, bool *stopped) {
    sd_progress *p = &run->progress;
    const uint64_t steps = run->pipeline.epoch_plan.steps;
    const double lr = sd_lr_of_batch(run->session.config, p, steps - 1, steps),
                 predictions = (double)sd_progress_predictions(p);
    sd_score validation, training;
    SD_TRY(score_epoch(run, &validation, &training, stopped));
    if (*stopped)
        return SD_OK;
    sd_watch("end of the epoch", p->step);
    p->epoch++;
    p->train_loss = predictions > 0 ? p->epoch_loss / predictions : NAN; /* NAN: no step of it was finite */
    p->train_accuracy = predictions > 0 ? (double)p->epoch_correct / predictions : NAN;
    take_scores(p, &validation, &training);
    sd_status status = write_timing(run);
    if (status == SD_OK && sd_session_is_root(&run->session)) {
        status = sd_logs_epoch(&run->record.logs, p, lr);
        show_epoch(run, lr);
    }
    p->batch = p->epoch_images = p->epoch_masked = p->epoch_correct = p->epoch_decisions = 0;
    p->epoch_loss = p->epoch_seconds = p->epoch_kept = 0;
    return sd_comm_agree(run->session.comm, status);
}
