/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/train.h"

#include <string.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/hash.h"
#include "sdtrain/random.h"

static bool due(int64_t every, uint64_t n) { return every > 0 && n % (uint64_t)every == 0; }

static sd_status check_weights(sd_run *run) {
    sd_watch("comparison of weights", run->progress.step);
    return sd_comm_check_same(
        run->comm, sd_hash(sd_network_values(run->network), sd_network_buffer_elems(run->network) * sizeof(float)),
        "weights");
}

/* The order of the epoch under way, and this rank's shards of its batches from the one after the last done. */
static void begin_epoch(sd_run *run) {
    const sd_progress *p = &run->progress;
    const uint64_t epoch = p->epoch + 1, batches = run->epoch_plan.steps - p->batch;
    sd_random_permutation(run->drop.seed, SD_STREAM_ORDER, epoch, run->order, (uint32_t)run->epoch_plan.images);
    sd_range *range = run->ranges;
    for (uint64_t b = 0; b < batches; b++)
        for (int shard = 0; shard < run->shards_here; shard++, range++) {
            *range = sd_run_shard(run, sd_epoch_plan_batch_images(&run->epoch_plan, p->batch + b), shard);
            range->first += (p->batch + b) * run->epoch_plan.batch_size;
        }
    sd_loader_begin(run->loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                                   .augment = run->config->data.augment,
                                                   .seed = run->drop.seed,
                                                   .epoch = epoch,
                                                   .order = run->order,
                                                   .ranges = run->ranges,
                                                   .n_batches = batches * (uint64_t)run->shards_here});
}

/* The rest of the epoch under way. *request: what a rank asks for after the last step. */
static sd_status train_epoch(sd_run *run, sd_request *request) {
    const sd_config *config = run->config;
    const sd_progress *p = &run->progress;
    begin_epoch(run);
    while (p->batch < run->epoch_plan.steps && p->step < run->total_steps && !request->stop) {
        SD_TRY(sd_run_step(run, request));
        SD_TRY(sd_run_look_after_saving(run));
        const bool epoch_ends = p->batch == run->epoch_plan.steps;
        if (due(config->communication.check_every, p->step))
            SD_TRY(check_weights(run));
        const bool planned = due(config->checkpoint.every_steps, p->step);
        if ((planned || request->save) && !epoch_ends && !request->stop && p->step < run->total_steps)
            SD_TRY(sd_run_save(run, planned));
    }
    sd_loader_end(run->loader);
    return SD_OK;
}

static sd_status train(sd_run *run) {
    const sd_config *config = run->config;
    const sd_progress *p = &run->progress;
    sd_request request = {0};
    if (config->communication.check_every > 0)
        SD_TRY(check_weights(run));
    while (!sd_run_is_finished(run) && !request.stop) {
        SD_TRY(train_epoch(run, &request));
        /* Asked to stop, before scoring or while it lasts, save at once: the resumed run ends the epoch. */
        const double ended = sd_clock_seconds();
        if (p->batch == run->epoch_plan.steps && !request.stop)
            SD_TRY(sd_run_end_epoch(run, &request.stop));
        const bool epoch_ended = p->batch == 0;
        sd_budget_note(&run->budget.epoch_end, ended);
        const bool planned =
            epoch_ended && (p->step == run->planned_steps || due(config->checkpoint.every_epochs, p->epoch) ||
                            due(config->checkpoint.every_steps, p->step));
        if (planned || request.stop || request.save || sd_run_is_finished(run))
            SD_TRY(sd_run_save(run, planned));
    }
    SD_TRY(sd_run_finish_saving(run));
    const bool complete = sd_run_is_finished(run);
    SD_TRY(sd_run_summarise(run, complete ? "complete" : "stopped"));
    if (complete)
        return SD_OK;
    return sd_comm_agree(run->comm, sd_fail(SD_STOPPED,
                                            "stopped %s after step %llu; a checkpoint is written, start it again "
                                            "to go on",
                                            run->budget.spent ? "as its wall-clock budget is spent" : "by a signal",
                                            (unsigned long long)p->step));
}

/* Whatever the end of training was, it stands in summary.json, if that can still be written; the message is
 * training's. */
static void mark_divergence(const sd_run *run) {
    char message[2048];
    snprintf(message, sizeof message, "%s", sd_error_message());
    (void)sd_run_mark(run, "diverged");
    sd_error_clear();
    if (message[0])
        (void)sd_fail(SD_ERR_DIVERGED, "%s", message);
}

static void announce(const sd_run *run) {
    const int ranks = sd_comm_size(run->comm);
    sd_log_info("%s: %zu parameters, %d branches; %d rank%s x %d thread%s, %s kernels; files in %s",
                run->config->model.name, sd_network_parameters(run->network), run->drop.units, ranks,
                ranks == 1 ? "" : "s", run->threads, run->threads == 1 ? "" : "s", run->kernels->name, run->folder);
}

/* Brings the run to the checkpoint that was found. *complete: nothing is left to train, and summary.json says so. */
static sd_status go_on(sd_run *run, sd_resume *resume, bool *complete) {
    bool summarised;
    SD_TRY(sd_resume_check_data(resume, run));
    SD_TRY(sd_resume_apply(resume, run, true));
    SD_TRY(sd_resume_settle(resume, run, &summarised));
    sd_log_info("%s %s, step %llu of %llu", sd_run_is_finished(run) ? "already complete:" : "going on from",
                resume->path, (unsigned long long)run->progress.step, (unsigned long long)run->total_steps);
    *complete = sd_run_is_finished(run) && summarised && !resume->elsewhere;
    return SD_OK;
}

static sd_status run_with(sd_comm *comm, const sd_config *config, const char *job, sd_resume *resume, sd_run *run) {
    const bool is_elsewhere = resume->elsewhere, is_foreign = resume->foreign;
    bool complete = false;
    SD_TRY(sd_run_open(run, comm, config, resume->found ? resume->info.isa : NULL));
    run->job = job;
    if (resume->found)
        SD_TRY(go_on(run, resume, &complete));
    sd_resume_close(resume);
    if (complete)
        return SD_OK;
    sd_budget_begin(&run->budget, (double)config->run.max_seconds, sd_run_state_bytes(run));
    SD_TRY(sd_run_open_logs(run));
    SD_TRY(sd_comm_agree(comm, sd_run_prepare_saving(run)));
    if (run->progress.step == 0)
        announce(run);
    run->timed_until = run->step_begin = sd_clock_seconds();
    run->first_step = run->progress.step + 1;
    if (is_elsewhere)
        SD_TRY(sd_resume_adopt(run, is_foreign));
    SD_TRY(sd_comm_agree(comm, sd_run_mark(run, "running")));
    const sd_status status = train(run);
    if (status == SD_ERR_DIVERGED)
        mark_divergence(run);
    return status;
}

static sd_status train_locked(sd_comm *comm, const sd_config *config, const char *job) {
    sd_resume resume;
    sd_run run = {0};
    sd_status status = sd_resume_find(comm, config, job, &resume);
    if (status == SD_OK)
        status = run_with(comm, config, job, &resume, &run);
    sd_resume_close(&resume);
    sd_run_close(&run);
    return status;
}

sd_status sd_train(sd_comm *comm, const sd_config *config, const char *job) {
    char folder[SD_FOLDER_BYTES], checkpoints[SD_FOLDER_BYTES + 16];
    sd_lock *lock = NULL;
    sd_run_folders(config, folder, sizeof folder, checkpoints, sizeof checkpoints);
    sd_status status = sd_watchdog_start(comm, (double)config->run.stall_seconds);
    if (status == SD_OK)
        status = sd_lock_take(comm, folder, &lock);
    sd_watchdog_lock(lock);
    if (status == SD_OK)
        status = train_locked(comm, config, job);
    sd_watchdog_stop();
    sd_lock_release(&lock);
    return status;
}
