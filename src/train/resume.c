/* SPDX-License-Identifier: Apache-2.0 */
/* From a checkpoint's file to a run's state on all ranks. Rank 0 reads. */
#include "resume.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "feedback.h"
#include "run.h"
#include "sdtrain/arena.h"

static sd_status broadcast_state(sd_comm *comm, sd_trainer *trainer, bool with_optimizer) {
    sd_network *network = trainer->network;
    const size_t buffer_bytes = sd_network_buffer_elems(network) * sizeof(float);
    SD_TRY(sd_comm_broadcast(comm, sd_network_values(network), buffer_bytes));
    for (int i = 0; i < sd_network_n_segments(network); i++) {
        int64_t kept_steps = sd_network_segment(network, i)->kept_steps;
        SD_TRY(sd_comm_broadcast(comm, &kept_steps, sizeof kept_steps));
        sd_network_set_kept_steps(network, i, kept_steps);
    }
    for (int i = 0; with_optimizer && i < sd_optimizer_n_states(trainer->optimizer); i++)
        SD_TRY(sd_comm_broadcast(comm, sd_optimizer_state(trainer->optimizer, i), buffer_bytes));
    return SD_OK;
}

/* Every rank's time in the epoch under way. all: [ranks][SD_PHASES] on rank 0. */
static sd_status scatter_timing(sd_comm *comm, double *all, sd_timing *timing) {
    const size_t ranks = (size_t)sd_comm_size(comm), rank = (size_t)sd_comm_rank(comm);
    double *copy = all;
    SD_TRY(sd_comm_agree(comm, rank == 0 ? SD_OK : sd_alloc(&copy, ranks * SD_PHASES, sizeof *copy)));
    const sd_status status = sd_comm_broadcast(comm, copy, ranks * SD_PHASES * sizeof *copy);
    if (status == SD_OK)
        memcpy(timing->seconds, copy + rank * SD_PHASES, sizeof timing->seconds);
    if (rank != 0)
        free(copy);
    return status;
}

sd_status sd_resume_apply(sd_resume *resume, sd_run *run, bool with_optimizer) {
    sd_comm *comm = run->session.comm;
    sd_trainer *trainer = &run->trainer;
    sd_status status = SD_OK;
    sd_watch_slow("handing out the checkpoint", 0, sd_run_file_seconds(run));
    if (sd_session_is_root(&run->session))
        status = sd_checkpoint_apply(resume->file, trainer->network, with_optimizer ? trainer->optimizer : NULL);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(broadcast_state(comm, trainer, with_optimizer));
    if (!sd_samples_are_texts(sd_dataset_samples(run->pipeline.dataset)))
        sd_dataset_set_normalisation(run->pipeline.dataset, resume->info.mean, resume->info.deviation);
    if (!with_optimizer)
        return SD_OK;
    run->progress = resume->info.progress;
    sd_progress *p = &run->progress;
    if (isnan(p->best_val_accuracy)) /* an older file knows that of its best checkpoint */
        p->best_val_accuracy = p->best_accuracy;
    const uint64_t steps = run->pipeline.epoch_plan.steps;
    const bool same_ranks = resume->info.ranks == sd_comm_size(comm);
    if (p->batch > steps && same_ranks)
        return sd_comm_agree(comm, sd_fail(SD_ERR_DATA,
                                           "%s: is after %" PRIu64 " batches of an epoch, where an epoch has %" PRIu64,
                                           resume->path, p->batch, steps));
    sd_run_plan_end(run);
    SD_TRY(sd_feedback_restore(&run->session, trainer, resume->file, resume->info.ranks));
    if (same_ranks)
        return scatter_timing(comm, resume->info.timing, &run->record.timing);
    if (run->session.config->communication.reduction != SD_REDUCTION_REPRODUCIBLE)
        sd_log_warn("%s was trained on %d ranks and goes on with %d: results stay right, but not bit for bit",
                    resume->path, resume->info.ranks, sd_comm_size(comm));
    return SD_OK;
}

void sd_resume_close(sd_resume *resume) {
    sd_checkpoint_close(&resume->file);
    sd_checkpoint_info_free(&resume->info);
    memset(resume, 0, sizeof *resume);
}
