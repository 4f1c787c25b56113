/* SPDX-License-Identifier: Apache-2.0 */
/* From a checkpoint's file to a run's state on all ranks. Rank 0 reads. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "sdtrain/arena.h"

static sd_status broadcast_state(sd_run *run, bool with_optimizer) {
    const size_t buffer_bytes = sd_network_buffer_elems(run->network) * sizeof(float);
    SD_TRY(sd_comm_broadcast(run->comm, sd_network_values(run->network), buffer_bytes));
    for (int i = 0; i < sd_network_n_segments(run->network); i++) {
        int64_t kept_steps = sd_network_segment(run->network, i)->kept_steps;
        SD_TRY(sd_comm_broadcast(run->comm, &kept_steps, sizeof kept_steps));
        sd_network_set_kept_steps(run->network, i, kept_steps);
    }
    for (int i = 0; with_optimizer && i < sd_optimizer_n_states(run->optimizer); i++)
        SD_TRY(sd_comm_broadcast(run->comm, sd_optimizer_state(run->optimizer, i), buffer_bytes));
    return SD_OK;
}

sd_status sd_resume_apply(sd_resume *resume, sd_run *run, bool with_optimizer) {
    sd_status status = SD_OK;
    sd_watch_slow("handing out the checkpoint", 0, sd_run_file_seconds(run));
    if (sd_comm_rank(run->comm) == 0)
        status = sd_checkpoint_apply(resume->file, run->network, with_optimizer ? run->optimizer : NULL);
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(broadcast_state(run, with_optimizer));
    sd_dataset_set_normalisation(run->dataset, resume->info.mean, resume->info.deviation);
    if (!with_optimizer)
        return SD_OK;
    run->progress = resume->info.progress;
    sd_progress *p = &run->progress;
    if (isnan(p->best_val_accuracy)) /* an older file knows that of its best checkpoint */
        p->best_val_accuracy = p->best_accuracy;
    const int ranks = sd_comm_size(run->comm);
    if (p->batch > run->epoch_plan.steps && resume->info.ranks == ranks)
        return sd_comm_agree(
            run->comm, sd_fail(SD_ERR_DATA, "%s: is after %" PRIu64 " batches of an epoch, where an epoch has %" PRIu64,
                               resume->path, p->batch, run->epoch_plan.steps));
    sd_run_plan_end(run);
    SD_TRY(sd_errors_restore(run, resume->file, resume->info.ranks));
    if (resume->info.ranks != ranks) {
        if (run->config->communication.reduction != SD_REDUCTION_REPRODUCIBLE)
            sd_log_warn("%s was trained on %d ranks and goes on with %d: results stay right, but not bit for bit",
                        resume->path, resume->info.ranks, ranks);
        return SD_OK;
    }
    /* Every rank's time in the epoch under way. */
    double *timing = resume->info.timing;
    status = sd_comm_rank(run->comm) == 0 ? SD_OK : sd_alloc(&timing, (size_t)ranks * SD_PHASES, sizeof *timing);
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_broadcast(run->comm, timing, (size_t)ranks * SD_PHASES * sizeof *timing));
    memcpy(run->timing, timing + (size_t)sd_comm_rank(run->comm) * SD_PHASES, sizeof run->timing);
    if (sd_comm_rank(run->comm) != 0)
        free(timing);
    return SD_OK;
}

void sd_resume_close(sd_resume *resume) {
    sd_checkpoint_close(&resume->file);
    sd_checkpoint_info_free(&resume->info);
    memset(resume, 0, sizeof *resume);
}
