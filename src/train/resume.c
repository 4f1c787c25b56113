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

/* Keys that change results must be those the checkpoint was trained with. */
static sd_status compare_config(const sd_config *config, const sd_resume *resume) {
    static const char *const convolutions[] = {[SD_CONVOLUTION_AUTO] = "auto", [SD_CONVOLUTION_DIRECT] = "direct"};
    static sd_config stored; /* large */
    char differences[3072];
    sd_config_init(&stored);
    SD_TRY(sd_config_parse(&stored, resume->described.config, resume->path));
    sd_config_differences(config, &stored, differences, sizeof differences);
    if (differences[0])
        return sd_fail(SD_ERR_CONFIG,
                       "%s: was trained with another configuration: %s; change it back, or give the run another "
                       "run.name",
                       resume->path, differences);
    if (config->run.convolution != stored.run.convolution)
        sd_log_warn("%s was trained with run.convolution = %s and goes on with %s: results stay right, but not bit for "
                    "bit",
                    resume->path, convolutions[stored.run.convolution], convolutions[config->run.convolution]);
    return SD_OK;
}

static sd_status find(const sd_config *config, sd_resume *resume) {
    char folder[SD_FOLDER_BYTES], checkpoints[SD_FOLDER_BYTES + 16], steps[SD_FOLDER_BYTES + 16];
    const char *wish = config->checkpoint.resume;
    sd_run_folders(config, folder, sizeof folder, checkpoints, sizeof checkpoints);
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
    else
        SD_TRY(open_file(wish, resume));
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

sd_status sd_resume_find(sd_comm *comm, const sd_config *config, sd_resume *resume) {
    memset(resume, 0, sizeof *resume);
    sd_watch_slow("looking for a checkpoint to go on from", 0, LOOK_SECONDS);
    return spread(comm, sd_comm_rank(comm) == 0 ? find(config, resume) : SD_OK, resume);
}

sd_status sd_resume_open(sd_comm *comm, const char *path, sd_resume *resume) {
    memset(resume, 0, sizeof *resume);
    sd_watch_slow("reading the checkpoint", 0, LOOK_SECONDS);
    return spread(comm, sd_comm_rank(comm) == 0 ? open_file(path, resume) : SD_OK, resume);
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

static sd_status settle(const sd_run *run) {
    SD_TRY(sd_checkpoint_set_aside(run->checkpoints, run->progress.step));
    link_if_there(run, "latest", run->progress.step);
    link_if_there(run, "best", run->progress.best_step);
    return SD_OK;
}

sd_status sd_resume_settle(sd_run *run, bool *summarised) {
    char path[SD_FOLDER_BYTES + 16];
    snprintf(path, sizeof path, "%s/summary.json", run->folder);
    const bool root = sd_comm_rank(run->comm) == 0;
    *summarised = root && access(path, F_OK) == 0;
    SD_TRY(sd_comm_agree(run->comm, root ? settle(run) : SD_OK));
    return sd_comm_broadcast(run->comm, summarised, sizeof *summarised);
}

void sd_resume_close(sd_resume *resume) {
    sd_checkpoint_close(&resume->file);
    free(resume->described.config);
    free(resume->described.timing);
    memset(resume, 0, sizeof *resume);
}
