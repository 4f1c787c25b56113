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
    SD_TRY(sd_run_make_folders(run->checkpoints, &made_from));
    discard_parts(run);
    SD_TRY(write_config(run));
    SD_TRY(sd_schedule_write(run->folder, run->network, &run->law));
    SD_TRY(sd_csv_open(&run->steps_csv, run->folder, "steps.csv",
                       "step,epoch,lr,loss,accuracy,branches,kept,bytes_reduced,bytes_full,seconds,images_per_second",
                       p->steps_csv_bytes));
    SD_TRY(sd_csv_open(
        &run->epochs_csv, run->folder, "epochs.csv",
        "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,train_eval_accuracy,"
        "gap,kept_fraction,seconds,images_per_second",
        p->epochs_csv_bytes));
    SD_TRY(sd_csv_open(
        &run->timing_csv, run->folder, "timing.csv",
        "epoch,rank,host,data,forward,backward,communication,optimizer,evaluation,checkpoint,other,total,wait",
        p->timing_csv_bytes));
    if (run->config->log.decisions)
        SD_TRY(sd_csv_open(&run->decisions_csv, run->folder, "decisions.csv", "step,kept", p->decisions_csv_bytes));
    return SD_OK;
}

sd_status sd_run_open_logs(sd_run *run) {
    return sd_comm_agree(run->comm, sd_comm_rank(run->comm) == 0 ? open_logs(run) : SD_OK);
}

/* ---- the end of an epoch ---- */

typedef struct rank_timing {
    char host[64];
    double seconds[SD_PHASES];
} rank_timing;

/* Rows of timing.csv. Collective. */
static sd_status write_timing(sd_run *run) {
    const int ranks = sd_comm_size(run->comm);
    const bool root = sd_comm_rank(run->comm) == 0;
    rank_timing mine, *all = NULL;
    run->timing[SD_PHASE_TOTAL] += sd_clock_seconds() - run->timed_until;
    run->timed_until = sd_clock_seconds();
    snprintf(mine.host, sizeof mine.host, "%s", sd_comm_host(run->comm));
    memcpy(mine.seconds, run->timing, sizeof mine.seconds);
    memset(run->timing, 0, sizeof run->timing);
    sd_status status = root ? sd_alloc(&all, (size_t)ranks, sizeof *all) : SD_OK;
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_gather(run->comm, &mine, sizeof mine, all));
    for (int r = 0; root && status == SD_OK && r < ranks; r++) {
        char fields[SD_PHASES * 24] = "";
        double other = all[r].seconds[SD_PHASE_TOTAL];
        for (int phase = 0; phase < SD_PHASE_TOTAL; phase++) {
            if (phase != SD_PHASE_WAIT)
                snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "%.6f,", all[r].seconds[phase]);
            other -= all[r].seconds[phase];
        }
        status = sd_csv_row(&run->timing_csv, "%llu,%d,%s,%s%.6f,%.6f,%.6f\n", (unsigned long long)run->progress.epoch,
                            r, all[r].host, fields, other > 0 ? other : 0, all[r].seconds[SD_PHASE_TOTAL],
                            all[r].seconds[SD_PHASE_WAIT]);
    }
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
    char validation[64] = "";
    if (!isnan(p->val_accuracy))
        snprintf(validation, sizeof validation, "  val loss %.4f accuracy %.2f %%", p->val_loss, 100 * p->val_accuracy);
    sd_console_line(
        &run->console,
        "epoch %llu/%lld  step %llu  lr %.4g  train loss %.4f accuracy %.2f %%%s  kept %.1f %%  %.0f images/s"
        "  %.1f s",
        (unsigned long long)p->epoch, (long long)run->config->train.epochs, (unsigned long long)p->step, lr,
        p->train_loss, 100 * p->train_accuracy, validation, 100 * p->epoch_kept / (double)p->epoch_decisions,
        (double)p->epoch_images / p->epoch_seconds, p->epoch_seconds);
}

sd_status sd_run_end_epoch(sd_run *run) {
    const sd_config *config = run->config;
    sd_progress *p = &run->progress;
    const double lr = sd_lr_at(config, p->step - 1, run->epoch_plan.steps);
    sd_watch("end of the epoch", p->step);
    p->epoch++;
    p->train_loss = p->epoch_loss / (double)p->epoch_images;
    p->train_accuracy = (double)p->epoch_correct / (double)p->epoch_images;
    p->val_loss = p->val_accuracy = p->val_top5_accuracy = p->train_eval_accuracy = NAN;
    if (config->eval.every_epochs > 0 &&
        (p->epoch % (uint64_t)config->eval.every_epochs == 0 || p->step == run->planned_steps)) {
        sd_score score;
        SD_TRY(sd_run_score(run, SD_SPLIT_VALIDATION, sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION), &score));
        if (!isfinite(score.loss))
            sd_log_warn("after step %llu the validation loss is not finite: either training diverges, or after so few "
                        "steps batch norm's running statistics are still far from the batches'",
                        (unsigned long long)p->step);
        p->val_loss = score.loss;
        p->val_accuracy = score.top1;
        p->val_top5_accuracy = score.top5;
        if (config->eval.train_samples > 0) {
            const uint64_t images = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN);
            const uint64_t wanted = (uint64_t)config->eval.train_samples;
            SD_TRY(sd_run_score(run, SD_SPLIT_TRAIN, wanted < images ? wanted : images, &score));
            p->train_eval_accuracy = score.top1;
        }
    }
    sd_watch("end of the epoch", p->step);
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

typedef struct witness {
    char host[64];
    double waited;
} witness;

static sd_status summarise(const sd_run *run, const char *state, const witness *witnesses, double *waited) {
    const sd_progress *p = &run->progress;
    const int ranks = sd_comm_size(run->comm);
    for (int rank = 0; rank < ranks; rank++)
        waited[rank] = witnesses[rank].waited;
    const sd_blame blame = sd_blame_find(waited, ranks, run->stepped);
    const sd_summary summary = {.run_folder = run->folder,
                                .host = sd_comm_host(run->comm),
                                .mpi = sd_comm_library(),
                                .isa = run->kernels->name,
                                .status = state,
                                .ranks = sd_comm_size(run->comm),
                                .threads = run->threads,
                                .step = p->step,
                                .epoch = p->epoch,
                                .images = p->images,
                                .skipped_steps = p->skipped_steps,
                                .bytes_reduced = p->bytes_reduced,
                                .bytes_full = p->bytes_full,
                                .seconds = p->seconds,
                                .kept_fraction = p->decisions ? p->kept / (double)p->decisions : NAN,
                                .train_loss = p->train_loss,
                                .train_accuracy = p->train_accuracy,
                                .val_loss = p->val_loss,
                                .val_accuracy = p->val_accuracy,
                                .val_top5_accuracy = p->val_top5_accuracy,
                                .train_eval_accuracy = p->train_eval_accuracy,
                                .gap = p->train_eval_accuracy - p->val_accuracy,
                                .best_accuracy = p->best_accuracy,
                                .best_step = p->best_step,
                                .parameters = sd_network_parameters(run->network),
                                .waited_for = blame,
                                .waited_for_host = blame.rank < 0 ? NULL : witnesses[blame.rank].host};
    sd_status status = sd_summary_write(run->folder, &summary);
    sd_summary_print(&summary);
    return status;
}

sd_status sd_run_summarise(sd_run *run, const char *state) {
    const bool root = sd_comm_rank(run->comm) == 0;
    const size_t ranks = (size_t)sd_comm_size(run->comm);
    witness mine = {.waited = run->waited}, *all = NULL;
    sd_watch("summary", run->progress.step);
    double *waited = NULL;
    snprintf(mine.host, sizeof mine.host, "%s", sd_comm_host(run->comm));
    sd_status status = root ? sd_alloc(&all, ranks, sizeof *all) : SD_OK;
    if (root && status == SD_OK)
        status = sd_alloc(&waited, ranks, sizeof *waited);
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_gather(run->comm, &mine, sizeof mine, all));
    if (root)
        status = summarise(run, state, all, waited);
    free(all);
    free(waited);
    return sd_comm_agree(run->comm, status);
}
