/* SPDX-License-Identifier: Apache-2.0 */
/* A run's folder, brought to the checkpoint that the run goes on from. Rank 0 does it. */
#include "resume.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "run.h"
#include "sdtrain/summary.h"

/* Points a link at a step's file; if that is not in this run's folder, a link to something else that is gone goes
 * too. */
static void link_if_there(const sd_run *run, const char *link, uint64_t step) {
    char path[SD_PATH_BYTES];
    sd_checkpoint_path(run->session.folders.checkpoints, step, path, sizeof path);
    if (access(path, F_OK) == 0) {
        sd_checkpoint_link(run->session.folders.checkpoints, link, step);
        return;
    }
    snprintf(path, sizeof path, "%s/%s", run->session.folders.checkpoints, link);
    if (access(path, F_OK) != 0) /* follows the link */
        unlink(path);
}

/* What is in the way of the logs and the checkpoint that the run begins with. */
static sd_status clear_for_foreign(const sd_run *run) {
    SD_TRY(sd_logs_set_aside(run->session.folders.run));
    return sd_checkpoint_set_aside(run->session.folders.checkpoints, run->progress.step, run->progress.step);
}

/* Nothing of what the other run has in its own folder is here. */
static void forget_other_folder(sd_progress *p) {
    p->run_id = sd_run_id_draw();
    sd_logs_forget(p);
    p->best_accuracy = NAN;
    p->best_step = 0;
}

static sd_status settle(const sd_resume *resume, const sd_run *run, bool *summarised) {
    *summarised = !strcmp(sd_summary_last_start(run->session.folders.run).status, "complete");
    if (resume->foreign)
        return clear_for_foreign(run);
    if (resume->elsewhere)
        return SD_OK; /* until it has a checkpoint of its own */
    SD_TRY(sd_checkpoint_set_aside(run->session.folders.checkpoints, run->progress.step + 1, UINT64_MAX));
    link_if_there(run, "latest", run->progress.step);
    link_if_there(run, "best", run->progress.best_step);
    return SD_OK;
}

sd_status sd_resume_settle(const sd_resume *resume, sd_run *run, bool *summarised) {
    *summarised = false;
    if (resume->foreign)
        forget_other_folder(&run->progress);
    sd_status status = sd_session_is_root(&run->session) ? settle(resume, run, summarised) : SD_OK;
    SD_TRY(sd_comm_agree(run->session.comm, status));
    return sd_comm_broadcast(run->session.comm, summarised, sizeof *summarised);
}

static sd_status set_others_aside(const sd_run *run, bool foreign) {
    const uint64_t step = run->progress.step;
    if (foreign && step > 0)
        SD_TRY(sd_checkpoint_set_aside(run->session.folders.checkpoints, 0, step - 1));
    SD_TRY(sd_checkpoint_set_aside(run->session.folders.checkpoints, step + 1, UINT64_MAX));
    link_if_there(run, "best", run->progress.best_step);
    return SD_OK;
}

sd_status sd_resume_adopt(sd_run *run, bool foreign) {
    SD_TRY(sd_run_save(run, false));
    SD_TRY(sd_run_finish_saving(run));
    return sd_comm_agree(run->session.comm, sd_session_is_root(&run->session) ? set_others_aside(run, foreign) : SD_OK);
}
