/* SPDX-License-Identifier: Apache-2.0 */
/* Which checkpoint a run goes on from, and whether it may. Rank 0 looks; the others are told. */
#include "resume.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logs.h"
#include "sdtrain/arena.h"
#include "sdtrain/guard.h"
#include "sdtrain/summary.h"

static sd_status open_file(const char *path, sd_resume *resume) {
    snprintf(resume->path, sizeof resume->path, "%s", path);
    SD_TRY(sd_checkpoint_open(path, SD_PHASES, &resume->file, &resume->info));
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
    const uint64_t held = resume->info.progress.step;
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
    char path[SD_PATH_BYTES];
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

static bool is_laid_out_over_epochs(const sd_config *config) {
    return config->lr.schedule != SD_LR_STEP && config->lr.schedule != SD_LR_CONSTANT;
}

/* Whether a run that was begun with other epochs may make this many: its learning rates so far must be those of such
 * a run. */
static bool may_have_epochs(const sd_config *config, const sd_progress *progress) {
    return !is_laid_out_over_epochs(config) &&
           (uint64_t)config->train.epochs >= progress->epoch + (progress->batch > 0);
}

static const char *why_no_other_epochs(const sd_config *config) {
    return is_laid_out_over_epochs(config)
               ? " (lr.schedule = cosine, linear and onecycle are laid out over train.epochs; "
                 "constant and step can be given more)"
               : " (more are done already)";
}

/* What a run has begun from is not read again. */
static void compare_init(const sd_config *config, const sd_config *stored, sd_resume *resume) {
    const char *init = config->model.init, *digest = config->model.init_digest;
    strcpy(resume->init, stored->model.init);
    strcpy(resume->init_digest, stored->model.init_digest);
    const bool same = digest[0] ? !strcmp(digest, stored->model.init_digest) : !strcmp(init, stored->model.init);
    if (!same)
        sd_log_warn("%s began with model.init = %s, not %s: a run that goes on does not read it again", resume->path,
                    stored->model.init[0] ? stored->model.init : "(none)", init[0] ? init : "(none)");
}

/* Keys that change results must be those the checkpoint was trained with. */
static sd_status compare(const sd_config *config, sd_config *stored, sd_resume *resume) {
    char differences[3072];
    sd_config_init(stored);
    SD_TRY(sd_config_parse(stored, resume->info.config, resume->path));
    if (may_have_epochs(config, &resume->info.progress))
        stored->train.epochs = config->train.epochs;
    sd_config_differences(config, stored, differences, sizeof differences);
    if (differences[0])
        return sd_fail(SD_ERR_CONFIG,
                       "%s: was trained with another configuration: %s%s; change it back, or give the run another "
                       "run.name",
                       resume->path, differences,
                       config->train.epochs == stored->train.epochs ? "" : why_no_other_epochs(config));
    if (config->run.convolution != stored->run.convolution)
        sd_log_warn("%s was trained with run.convolution = %s and goes on with %s: results stay right, but not bit for "
                    "bit",
                    resume->path, sd_convolution_choice_word(stored->run.convolution),
                    sd_convolution_choice_word(config->run.convolution));
    compare_init(config, stored, resume);
    return SD_OK;
}

static sd_status compare_config(const sd_config *config, sd_resume *resume) {
    sd_config *stored;
    SD_TRY(sd_alloc(&stored, 1, sizeof *stored));
    const sd_status status = compare(config, stored, resume);
    free(stored);
    return status;
}

/* Whether the file is the one of its step in the folder. */
static bool is_there(const char *checkpoints, const sd_resume *resume) {
    char own[SD_PATH_BYTES];
    sd_checkpoint_path(checkpoints, resume->info.progress.step, own, sizeof own);
    char *a = realpath(own, NULL), *b = realpath(resume->path, NULL);
    const bool same = a && b && !strcmp(a, b);
    free(a);
    free(b);
    return same;
}

/* Whether the folder's logs are of the history that the file is of: they have its number, and up to its moment they are
 * as long as it says. */
static bool logs_fit(const char *folder, const sd_progress *p) {
    return sd_summary_last_start(folder).run_id == p->run_id && sd_logs_fit(folder, p);
}

/* Starts of one job: after the first, whatever that was asked for, they go on with what it has written. */
static sd_status follow_job(const char *folder, const char *job, const char **request) {
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
    *request = "auto";
    return SD_OK;
}

static sd_status find(const sd_config *config, const char *job, sd_resume *resume) {
    const sd_folders folders = sd_folders_of(config);
    const char *const folder = folders.run, *const checkpoints = folders.checkpoints;
    const char *request = config->checkpoint.resume;
    char steps[SD_PATH_BYTES];
    SD_TRY(follow_job(folder, job, &request));
    if (!strcmp(request, "never")) {
        snprintf(steps, sizeof steps, "%s/steps.csv", folder);
        if (access(steps, F_OK) == 0 || access(checkpoints, F_OK) == 0)
            return sd_config_fail(config, "checkpoint.resume",
                                  "never, but %s holds a run already; give the run another run.name, "
                                  "or use auto to go on",
                                  folder);
        return SD_OK;
    }
    if (!strcmp(request, "auto"))
        SD_TRY(open_newest(checkpoints, resume));
    else {
        SD_TRY(open_file(request, resume));
        resume->elsewhere = !is_there(checkpoints, resume);
        resume->foreign = resume->elsewhere && !logs_fit(folder, &resume->info.progress);
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
        told.info.config = NULL;
        told.info.class_names = NULL;
        told.info.vocab = NULL;
        told.info.timing = NULL;
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
