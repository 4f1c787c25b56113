/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/file.h"

static sd_status write_config(const sd_run *run) {
    char path[SD_FOLDER_BYTES + 16], *text;
    snprintf(path, sizeof path, "%s/config.ini", run->folder);
    SD_TRY(sd_config_text(run->config, &text));
    sd_status status = sd_file_put(path, text);
    free(text);
    return status;
}

/* What a killed run has left of files that it was writing. */
static void discard_parts(const sd_run *run) {
    static const char *const names[] = {"config.ini", "schedule.csv", "summary.json"};
    char path[SD_FOLDER_BYTES + 16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", run->folder, names[i]);
        sd_file_discard_part(path);
    }
    sd_checkpoint_discard_parts(run->checkpoints);
}

static sd_status open_logs(sd_run *run) {
    const sd_progress *p = &run->progress;
    size_t made_from;
    SD_TRY(sd_file_make_folders(run->checkpoints, &made_from));
    discard_parts(run);
    SD_TRY(write_config(run));
    SD_TRY(sd_schedule_write(run->folder, run->network, &run->drop));
    SD_TRY(sd_csv_open(&run->steps_csv, run->folder, "steps.csv",
                       "step,epoch,lr,loss,accuracy,branches,kept,bytes_reduced,bytes_full,seconds,images_per_second",
                       p->step, p->steps_csv_bytes));
    SD_TRY(sd_csv_open(
        &run->epochs_csv, run->folder, "epochs.csv",
        "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,train_eval_accuracy,"
        "gap,kept_fraction,seconds,images_per_second",
        p->epoch, p->epochs_csv_bytes));
    SD_TRY(sd_csv_open(
        &run->timing_csv, run->folder, "timing.csv",
        "epoch,rank,host,data,forward,backward,communication,optimizer,evaluation,checkpoint,other,total,wait",
        p->epoch, p->timing_csv_bytes));
    if (run->config->log.decisions)
        SD_TRY(sd_csv_open(&run->decisions_csv, run->folder, "decisions.csv", "step,kept", p->step,
                           p->decisions_csv_bytes));
    return SD_OK;
}

sd_status sd_run_open_logs(sd_run *run) {
    return sd_comm_agree(run->comm, sd_comm_rank(run->comm) == 0 ? open_logs(run) : SD_OK);
}

/* ---- the end of an epoch ---- */

/* A row of timing.csv. */
static sd_status write_rank_timing(sd_run *run, int rank, const double seconds[SD_PHASES]) {
    char fields[SD_PHASES * 24] = "";
    double other = seconds[SD_PHASE_TOTAL];
    for (int phase = 0; phase < SD_PHASE_TOTAL; phase++) {
        if (phase != SD_PHASE_WAIT)
            snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "%.6f,", seconds[phase]);
        other -= seconds[phase];
    }
    return sd_csv_row(&run->timing_csv, "%llu,%d,%s,%s%.6f,%.6f,%.6f\n", (unsigned long long)run->progress.epoch, rank,
                      sd_comm_host_of(run->comm, rank), fields, other > 0 ? other : 0, seconds[SD_PHASE_TOTAL],
                      seconds[SD_PHASE_WAIT]);
}

/* Rows of timing.csv. Collective. */
static sd_status write_timing(sd_run *run) {
    const int ranks = sd_comm_size(run->comm);
    const bool root = sd_comm_rank(run->comm) == 0;
    double mine[SD_PHASES], *all = NULL; /* all: [ranks][SD_PHASES] */
    run->timing[SD_PHASE_TOTAL] += sd_clock_seconds() - run->timed_until;
    run->timed_until = sd_clock_seconds();
    memcpy(mine, run->timing, sizeof mine);
    memset(run->timing, 0, sizeof run->timing);
    sd_status status = root ? sd_alloc(&all, (size_t)ranks * SD_PHASES, sizeof *all) : SD_OK;
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_gather(run->comm, mine, sizeof mine, all));
    for (int rank = 0; root && status == SD_OK && rank < ranks; rank++)
        status = write_rank_timing(run, rank, all + (size_t)rank * SD_PHASES);
    free(all);
    return status;
}

static sd_status write_epoch(sd_run *run, double lr, double gap) {
    const sd_progress *p = &run->progress;
    char n[8][32];
    return sd_csv_row(&run->epochs_csv, "%llu,%llu,%.9g,%s,%s,%s,%s,%s,%s,%s,%s,%.6f,%.3f\n",
                      (unsigned long long)p->epoch, (unsigned long long)p->step, lr, sd_csv_number(p->train_loss, n[5]),
                      sd_csv_number(p->train_accuracy, n[6]), sd_csv_number(p->val_loss, n[0]),
                      sd_csv_number(p->val_accuracy, n[1]), sd_csv_number(p->val_top5_accuracy, n[2]),
                      sd_csv_number(p->train_eval_accuracy, n[3]), sd_csv_number(gap, n[4]),
                      sd_csv_number(p->epoch_kept / (double)p->epoch_decisions, n[7]), p->epoch_seconds,
                      (double)p->epoch_images / p->epoch_seconds);
}

static void show_epoch(sd_run *run, double lr) {
    const sd_progress *p = &run->progress;
    char validation[96] = "", n[5][32];
    if (!isnan(p->val_accuracy))
        snprintf(validation, sizeof validation, "  val loss %s accuracy %s",
                 sd_console_number(p->val_loss, 4, "", n[0]), sd_console_number(100 * p->val_accuracy, 2, " %", n[1]));
    sd_console_line(&run->console,
                    "epoch %llu/%lld  step %llu  lr %.4g  train loss %s accuracy %s%s  kept %s  %.0f images/s  %.1f s",
                    (unsigned long long)p->epoch, (long long)run->config->train.epochs, (unsigned long long)p->step, lr,
                    sd_console_number(p->train_loss, 4, "", n[2]),
                    sd_console_number(100 * p->train_accuracy, 2, " %", n[3]), validation,
                    sd_console_number(100 * p->epoch_kept / (double)p->epoch_decisions, 1, " %", n[4]),
                    (double)p->epoch_images / p->epoch_seconds, p->epoch_seconds);
}

/* The images that the end of the epoch under way scores, of both splits. */
static void count_scored(const sd_run *run, uint64_t *validation, uint64_t *training) {
    const uint64_t every = (uint64_t)run->config->eval.every_epochs, epoch = run->progress.epoch + 1;
    const uint64_t wanted = (uint64_t)run->config->eval.train_samples;
    const uint64_t images = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN);
    const bool due = every > 0 && (epoch % every == 0 || epoch == (uint64_t)run->config->train.epochs);
    *validation = due ? sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION) : 0;
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

sd_status sd_run_end_epoch(sd_run *run, bool *stopped) {
    sd_progress *p = &run->progress;
    const double lr = sd_run_lr(run, run->epoch_plan.steps - 1), images = (double)p->epoch_images;
    sd_score validation, training;
    SD_TRY(score_epoch(run, &validation, &training, stopped));
    if (*stopped)
        return SD_OK;
    sd_watch("end of the epoch", p->step);
    p->epoch++;
    p->train_loss = images > 0 ? p->epoch_loss / images : NAN; /* NAN: no step of it was finite */
    p->train_accuracy = images > 0 ? (double)p->epoch_correct / images : NAN;
    p->val_loss = validation.loss;
    p->val_accuracy = validation.top1;
    p->val_top5_accuracy = validation.top5;
    p->train_eval_accuracy = training.top1;
    if (!isnan(p->val_accuracy) && !(p->best_val_accuracy >= p->val_accuracy)) {
        p->best_val_accuracy = p->val_accuracy;
        p->best_val_epoch = p->epoch;
    }
    sd_status status = write_timing(run);
    if (status == SD_OK && sd_comm_rank(run->comm) == 0) {
        status = write_epoch(run, lr, p->train_eval_accuracy - p->val_accuracy);
        show_epoch(run, lr);
    }
    p->batch = p->epoch_images = p->epoch_correct = p->epoch_decisions = 0;
    p->epoch_loss = p->epoch_seconds = p->epoch_kept = 0;
    return sd_comm_agree(run->comm, status);
}

/* ---- the end ---- */

static sd_summary describe(const sd_run *run, const char *state) {
    return (sd_summary){.run_folder = run->folder,
                        .host = sd_comm_host(run->comm),
                        .mpi = sd_comm_library(),
                        .isa = run->kernels->name,
                        .status = state,
                        .job = run->job,
                        .progress = &run->progress,
                        .ranks = sd_comm_size(run->comm),
                        .threads = run->threads,
                        .parameters = sd_network_parameters(run->network)};
}

/* On rank 0. waited: [ranks], seconds. */
static sd_status summarise(const sd_run *run, const char *state, const double *waited) {
    sd_summary summary = describe(run, state);
    summary.waited_for = sd_slow_rank_find(waited, sd_comm_size(run->comm), run->stepped);
    if (summary.waited_for.rank >= 0)
        summary.waited_for_host = sd_comm_host_of(run->comm, summary.waited_for.rank);
    sd_status status = sd_summary_write(run->folder, &summary);
    sd_summary_print(stdout, &summary);
    return status;
}

sd_status sd_run_mark(const sd_run *run, const char *state) {
    const sd_summary summary = describe(run, state);
    return sd_comm_rank(run->comm) == 0 ? sd_summary_write(run->folder, &summary) : SD_OK;
}

sd_status sd_run_summarise(sd_run *run, const char *state) {
    const bool root = sd_comm_rank(run->comm) == 0;
    double *waited = NULL;
    sd_watch("summary", run->progress.step);
    sd_status status = root ? sd_alloc(&waited, (size_t)sd_comm_size(run->comm), sizeof *waited) : SD_OK;
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_gather(run->comm, &run->waited, sizeof run->waited, waited));
    if (root)
        status = summarise(run, state, waited);
    free(waited);
    return sd_comm_agree(run->comm, status);
}
