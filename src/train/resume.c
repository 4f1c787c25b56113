/* SPDX-License-Identifier: Apache-2.0 */
/* From a checkpoint file to a run. Rank 0 reads; the others hear of it. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/file.h"

/* ---- finding ---- */

static sd_status open_file(const char *path, sd_resume *resume) {
    snprintf(resume->path, sizeof resume->path, "%s", path);
    resume->described.n_phases = SD_PHASES;
    SD_TRY(sd_checkpoint_open(path, &resume->file, &resume->described));
    resume->found = true;
    return SD_OK;
}

/* One that was not asked for by name must be this run's own: no link to elsewhere, and the step that its name says. */
static sd_status open_found(const char *path, uint64_t step, sd_resume *resume) {
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
        return sd_fail(SD_ERR_DATA, "%s: is a symbolic link, which resume = auto does not follow; --resume FILE does",
                       path);
    SD_TRY(open_file(path, resume));
    const uint64_t held = resume->described.progress.step;
    return held == step ? SD_OK
                        : sd_fail(SD_ERR_DATA,
                                  "%s: holds step %" PRIu64 ", so it was renamed; give it back its name, "
                                  "step-%08" PRIu64 ".h5",
                                  path, held, held);
}

/* The newest file that is whole; those that are not are named and passed over. */
static sd_status open_newest(const char *checkpoints, sd_resume *resume) {
    uint64_t *steps;
    int n;
    SD_TRY(sd_checkpoint_list(checkpoints, &steps, &n));
    char path[SD_FOLDER_BYTES + 64];
    for (int i = 0; i < n && !resume->found; i++) {
        sd_checkpoint_path(checkpoints, steps[i], path, sizeof path);
        if (open_found(path, steps[i], resume) != SD_OK) {
            sd_log_warn("%s%s", sd_error_message(), i + 1 < n ? "; trying the one before" : "");
            sd_resume_close(resume);
        } else if (i > 0)
            sd_log_warn("%s is the newest good checkpoint", path);
    }
    free(steps);
    if (n > 0 && !resume->found)
        return sd_fail(SD_ERR_DATA,
                       "%s: none of its %d checkpoints can be used; give the run another run.name, or remove the "
                       "folder to start anew",
                       checkpoints, n);
    sd_error_clear();
    return SD_OK;
}

/* Whether a run that was laid out for other epochs may make this many: its learning rate so far must have been the same. */
static bool may_have_epochs(const sd_config *config, const sd_progress *progress) {
    const bool is_laid_out = config->lr.schedule == SD_LR_COSINE || config->lr.schedule == SD_LR_ONECYCLE;
    return !is_laid_out && (uint64_t)config->train.epochs >= progress->epoch + (progress->batch > 0);
}

/* Keys that change results must be those the checkpoint was trained with. */
static sd_status compare_config(const sd_config *config, const sd_resume *resume) {
    static const char *const convolutions[] = {[SD_CONVOLUTION_AUTO] = "auto", [SD_CONVOLUTION_DIRECT] = "direct"};
    static sd_config stored; /* large */
    char differences[3072];
    sd_config_init(&stored);
    SD_TRY(sd_config_parse(&stored, resume->described.config, resume->path));
    if (may_have_epochs(config, &resume->described.progress))
        stored.train.epochs = config->train.epochs;
    sd_config_differences(config, &stored, differences, sizeof differences);
    if (differences[0])
        return sd_fail(SD_ERR_CONFIG,
                       "%s: was trained with another configuration: %s%s; change it back, or give the run another "
                       "run.name",
                       resume->path, differences,
                       config->train.epochs == stored.train.epochs ? ""
                       : (uint64_t)config->train.epochs > resume->described.progress.epoch
                           ? " (lr.schedule lays cosine and onecycle out over train.epochs; only constant and step can be given "
                             "more)"
                           : " (so many are done already)");
    if (config->run.convolution != stored.run.convolution)
        sd_log_warn("%s was trained with run.convolution = %s and goes on with %s: results stay right, but not bit for "
                    "bit",
                    resume->path, convolutions[stored.run.convolution], convolutions[config->run.convolution]);
    return SD_OK;
}

/* Whether the file is the one of its step in the folder. */
static bool is_there(const char *checkpoints, const sd_resume *resume) {
    char own[SD_FOLDER_BYTES + 64];
    sd_checkpoint_path(checkpoints, resume->described.progress.step, own, sizeof own);
    char *a = realpath(own, NULL), *b = realpath(resume->path, NULL);
    const bool same = a && b && !strcmp(a, b);
    free(a);
    free(b);
    return same;
}

/* Whether the folder's logs are of the run that the file is of: up to its moment they are as long as it says. Times have no fixed number
 * of digits, so another run's are not. */
static bool logs_fit(const char *folder, const sd_progress *p) {
    return p->steps_csv_bytes > 0 && sd_csv_bytes_up_to(folder, "steps.csv", p->step) == p->steps_csv_bytes &&
           sd_csv_bytes_up_to(folder, "epochs.csv", p->epoch) == p->epochs_csv_bytes &&
           sd_csv_bytes_up_to(folder, "timing.csv", p->epoch) == p->timing_csv_bytes;
}

/* Starts of one job: after the first, whatever that was asked for, they go on with what it has written. */
static sd_status follow_job(const char *folder, const char *job, const char **wish) {
    if (!job)
        return SD_OK;
    const sd_last_start last = sd_summary_last_start(folder);
    if (strcmp(last.job, job) != 0)
        return SD_OK;
    if (!strcmp(last.status, "diverged"))
        return sd_fail(SD_ERR_CONFIG,
                       "%s: the training of this job (--job %s) diverged, and would again: lower lr.base or lengthen "
                       "lr.warmup_epochs under another run.name, or start it without --job",
                       folder, job);
    *wish = "auto";
    return SD_OK;
}

static sd_status find(const sd_config *config, const char *job, sd_resume *resume) {
    char folder[SD_FOLDER_BYTES], checkpoints[SD_FOLDER_BYTES + 16], steps[SD_FOLDER_BYTES + 16];
    const char *wish = config->checkpoint.resume;
    sd_run_folders(config, folder, sizeof folder, checkpoints, sizeof checkpoints);
    SD_TRY(follow_job(folder, job, &wish));
    if (!strcmp(wish, "never")) {
        snprintf(steps, sizeof steps, "%s/steps.csv", folder);
        if (access(steps, F_OK) == 0 || access(checkpoints, F_OK) == 0)
            return sd_config_fail(config, "checkpoint.resume",
                                  "never, but %s holds a run already; give the run another run.name, "
                                  "or use auto to go on",
                                  folder);
        return SD_OK;
    }
    if (!strcmp(wish, "auto"))
        SD_TRY(open_newest(checkpoints, resume));
    else {
        SD_TRY(open_file(wish, resume));
        resume->elsewhere = !is_there(checkpoints, resume);
        resume->foreign = resume->elsewhere && !logs_fit(folder, &resume->described.progress);
    }
    return resume->found ? compare_config(config, resume) : SD_OK;
}

/* Tells the other ranks what rank 0 has found; its pointers stay rank 0's. */
static sd_status spread(sd_comm *comm, sd_status status, sd_resume *resume) {
    sd_resume told = *resume;
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &told, sizeof told));
    if (sd_comm_rank(comm) != 0) {
        told.file = NULL;
        told.described.config = NULL;
        told.described.timing = NULL;
        *resume = told;
    }
    return SD_OK;
}

enum { LOOK_SECONDS = 3600 }; /* allowed for files whose size is not known yet, on a slow disk */

sd_status sd_resume_find(sd_comm *comm, const sd_config *config, const char *job, sd_resume *resume) {
    memset(resume, 0, sizeof *resume);
    sd_watch_slow("looking for a checkpoint to go on from", 0, LOOK_SECONDS);
    return spread(comm, sd_comm_rank(comm) == 0 ? find(config, job, resume) : SD_OK, resume);
}

sd_status sd_resume_open(sd_comm *comm, const char *path, sd_resume *resume) {
    memset(resume, 0, sizeof *resume);
    sd_watch_slow("reading the checkpoint", 0, LOOK_SECONDS);
    return spread(comm, sd_comm_rank(comm) == 0 ? open_file(path, resume) : SD_OK, resume);
}

/* ---- the data ---- */

/* "120 training images, not 60; ..."; "" if the data set is that of the checkpoint as far as this says. */
static void describe_differences(const sd_resume *resume, const sd_run *run, char *text, size_t text_bytes) {
    const sd_checkpoint *then = &resume->described;
    const uint64_t train = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN),
                   validation = sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION);
    const float *mean = sd_dataset_mean(run->dataset), *deviation = sd_dataset_deviation(run->dataset);
    const bool known = then->train_images > 0, other_counts = then->train_images != train || then->validation_images != validation;
    const bool other_colours = memcmp(mean, then->mean, sizeof then->mean) != 0 ||
                               memcmp(deviation, then->deviation, sizeof then->deviation) != 0;
    size_t used = 0;
    text[0] = '\0';
    if (known && other_counts)
        used += (size_t)snprintf(text + used, text_bytes - used,
                                 "%" PRIu64 " training and %" PRIu64 " validation images, not %" PRIu64 " and %" PRIu64,
                                 train, validation, then->train_images, then->validation_images);
    if (other_colours)
        used += (size_t)snprintf(text + used, text_bytes - used,
                                 "%smean %.4g %.4g %.4g and deviation %.4g %.4g %.4g of the pixels, not %.4g %.4g %.4g "
                                 "and %.4g %.4g %.4g",
                                 used > 0 ? "; " : "", mean[0], mean[1], mean[2], deviation[0], deviation[1], deviation[2],
                                 then->mean[0], then->mean[1], then->mean[2], then->deviation[0], then->deviation[1],
                                 then->deviation[2]);
    if (known && used == 0 && then->data_hash != sd_dataset_hash(run->dataset))
        snprintf(text, text_bytes, "as many images, but other pixels or labels (a hash over all of them differs)");
}

sd_status sd_resume_check_data(const sd_resume *resume, const sd_run *run) {
    char differences[512];
    describe_differences(resume, run, differences, sizeof differences);
    if (!differences[0])
        return SD_OK;
    return sd_comm_agree(run->comm,
                         sd_fail(SD_ERR_DATA,
                                 "%s: was trained on other data than %s: %s; bring that data back, or give the run another run.name",
                                 resume->path, run->config->data.path[0] ? run->config->data.path : "this run's", differences));
}

void sd_resume_compare_data(const sd_resume *resume, const sd_run *run) {
    const sd_checkpoint *then = &resume->described;
    const bool same = then->data_hash == sd_dataset_hash(run->dataset) ||
                      (then->train_images == 0 && !memcmp(sd_dataset_mean(run->dataset), then->mean, sizeof then->mean));
    if (!same)
        sd_log_warn("%s was trained on another data set than the one it is scored on; the images keep the normalisation of its training",
                    resume->path);
}

/* ---- going on ---- */

static sd_status broadcast_state(sd_run *run, bool with_optimizer) {
    const size_t buffer_bytes = sd_network_buffer_elems(run->network) * sizeof(float);
    SD_TRY(sd_comm_broadcast(run->comm, sd_network_values(run->network), buffer_bytes));
    for (int i = 0; i < sd_network_n_segments(run->network); i++)
        SD_TRY(sd_comm_broadcast(run->comm, &sd_network_segment(run->network, i)->kept_steps, sizeof(int64_t)));
    for (int i = 0; with_optimizer && i < sd_optimizer_n_states(run->optimizer); i++)
        SD_TRY(sd_comm_broadcast(run->comm, sd_optimizer_state(run->optimizer, i), buffer_bytes));
    return SD_OK;
}

sd_status sd_resume_apply(sd_resume *resume, sd_run *run, bool with_optimizer) {
    sd_status status = SD_OK;
    sd_watch_slow("handing out the checkpoint", 0, sd_run_file_seconds(run));
    if (sd_comm_rank(run->comm) == 0) {
        resume->described.network = run->network;
        resume->described.optimizer = with_optimizer ? run->optimizer : NULL;
        status = sd_checkpoint_apply(resume->file, &resume->described);
    }
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(broadcast_state(run, with_optimizer));
    sd_dataset_set_normalisation(run->dataset, resume->described.mean, resume->described.deviation);
    if (!with_optimizer)
        return SD_OK;
    run->progress = resume->described.progress;
    sd_progress *p = &run->progress;
    if (isnan(p->best_val_accuracy)) /* an older file knows that of its best checkpoint */
        p->best_val_accuracy = p->best_accuracy;
    if (p->batch > run->epoch_plan.steps) {
        if (resume->described.ranks == sd_comm_size(run->comm))
            return sd_comm_agree(run->comm,
                                 sd_fail(SD_ERR_DATA,
                                         "%s: is after %" PRIu64 " batches of an epoch, where an epoch has %" PRIu64,
                                         resume->path, p->batch, run->epoch_plan.steps));
        p->batch = run->epoch_plan.steps; /* on more ranks a short last batch may be none: the epoch is at its end */
    }
    const int ranks = sd_comm_size(run->comm);
    SD_TRY(sd_errors_restore(run, resume->file, resume->described.ranks));
    if (resume->described.ranks != ranks) {
        if (run->config->communication.reduction != SD_REDUCTION_REPRODUCIBLE)
            sd_log_warn("%s was trained on %d ranks and goes on with %d: results stay right, but not bit for bit",
                        resume->path, resume->described.ranks, ranks);
        return SD_OK;
    }
    /* Every rank's time in the epoch under way. */
    double *timing = resume->described.timing;
    status = sd_comm_rank(run->comm) == 0 ? SD_OK : sd_alloc(&timing, (size_t)ranks * SD_PHASES, sizeof *timing);
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_broadcast(run->comm, timing, (size_t)ranks * SD_PHASES * sizeof *timing));
    memcpy(run->timing, timing + (size_t)sd_comm_rank(run->comm) * SD_PHASES, sizeof run->timing);
    if (sd_comm_rank(run->comm) != 0)
        free(timing);
    return SD_OK;
}

/* Points a link at a step's file; if that is not in this run's folder, a link to something else that is gone goes too. */
static void link_if_there(const sd_run *run, const char *link, uint64_t step) {
    char path[SD_FOLDER_BYTES + 64];
    sd_checkpoint_path(run->checkpoints, step, path, sizeof path);
    if (access(path, F_OK) == 0) {
        sd_checkpoint_link(run->checkpoints, link, step);
        return;
    }
    snprintf(path, sizeof path, "%s/%s", run->checkpoints, link);
    if (access(path, F_OK) != 0) /* follows the link */
        unlink(path);
}

static sd_status set_log_aside(const sd_run *run, const char *name) {
    char path[SD_FOLDER_BYTES + 16], aside[SD_FOLDER_BYTES + 32];
    snprintf(path, sizeof path, "%s/%s", run->folder, name);
    snprintf(aside, sizeof aside, "%s.aside", path);
    return access(path, F_OK) == 0 ? sd_file_rename(path, aside) : SD_OK;
}

/* What is in the way of the logs and the checkpoint that the run begins with. */
static sd_status clear_for_foreign(const sd_run *run) {
    SD_TRY(set_log_aside(run, "steps.csv"));
    SD_TRY(set_log_aside(run, "epochs.csv"));
    SD_TRY(set_log_aside(run, "timing.csv"));
    SD_TRY(set_log_aside(run, "decisions.csv"));
    return sd_checkpoint_set_aside(run->checkpoints, run->progress.step, run->progress.step);
}

/* Nothing of what the other run has in its own folder is here. */
static void forget_other_folder(sd_progress *p) {
    p->steps_csv_bytes = p->epochs_csv_bytes = p->timing_csv_bytes = p->decisions_csv_bytes = 0;
    p->best_accuracy = NAN;
    p->best_step = 0;
}

static sd_status settle(const sd_resume *resume, const sd_run *run, bool *summarised) {
    *summarised = !strcmp(sd_summary_last_start(run->folder).status, "complete");
    if (resume->foreign)
        return clear_for_foreign(run);
    if (resume->elsewhere)
        return SD_OK; /* until it has a checkpoint of its own */
    SD_TRY(sd_checkpoint_set_aside(run->checkpoints, run->progress.step + 1, UINT64_MAX));
    link_if_there(run, "latest", run->progress.step);
    link_if_there(run, "best", run->progress.best_step);
    return SD_OK;
}

sd_status sd_resume_settle(const sd_resume *resume, sd_run *run, bool *summarised) {
    *summarised = false;
    if (resume->foreign)
        forget_other_folder(&run->progress);
    sd_status status = sd_comm_rank(run->comm) == 0 ? settle(resume, run, summarised) : SD_OK;
    SD_TRY(sd_comm_agree(run->comm, status));
    return sd_comm_broadcast(run->comm, summarised, sizeof *summarised);
}

static sd_status set_others_aside(const sd_run *run, bool foreign) {
    const uint64_t step = run->progress.step;
    if (foreign && step > 0)
        SD_TRY(sd_checkpoint_set_aside(run->checkpoints, 0, step - 1));
    SD_TRY(sd_checkpoint_set_aside(run->checkpoints, step + 1, UINT64_MAX));
    link_if_there(run, "best", run->progress.best_step);
    return SD_OK;
}

sd_status sd_resume_adopt(sd_run *run, bool foreign) {
    SD_TRY(sd_run_save(run, false));
    SD_TRY(sd_run_finish_saving(run));
    return sd_comm_agree(run->comm, sd_comm_rank(run->comm) == 0 ? set_others_aside(run, foreign) : SD_OK);
}

void sd_resume_close(sd_resume *resume) {
    sd_checkpoint_close(&resume->file);
    free(resume->described.config);
    free(resume->described.timing);
    memset(resume, 0, sizeof *resume);
}
