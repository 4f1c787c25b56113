/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/train.h"

#include <stdlib.h>
#include <string.h>

#include "epoch.h"
#include "folder.h"
#include "init.h"
#include "resume.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/hash.h"
#include "step.h"

static bool due(int64_t every, uint64_t n) { return every > 0 && n % (uint64_t)every == 0; }

static sd_status check_weights(sd_run *run) {
    sd_watch("comparison of weights", run->progress.step);
    sd_network *network = run->trainer.network;
    return sd_comm_check_same(run->session.comm,
                              sd_hash(sd_network_values(network), sd_network_buffer_elems(network) * sizeof(float)),
                              "weights");
}

/* The rest of the epoch under way. *request: what a rank asks for after the last step. */
static sd_status train_epoch(sd_run *run, sd_request *request) {
    const sd_config *config = run->session.config;
    const sd_progress *p = &run->progress;
    const uint64_t steps = run->pipeline.epoch_plan.steps, last = run->horizon.total_steps;
    sd_pipeline_begin_epoch(&run->pipeline, config->data.augment, run->trainer.drop.seed, p->epoch + 1, p->batch);
    while (p->batch < steps && p->step < last && !request->stop) {
        SD_TRY(sd_run_step(run, request));
        SD_TRY(sd_run_look_after_saving(run));
        const bool epoch_ends = p->batch == steps;
        if (due(config->communication.check_every, p->step))
            SD_TRY(check_weights(run));
        const bool planned = due(config->checkpoint.every_steps, p->step);
        if ((planned || request->save) && !epoch_ends && !request->stop && p->step < last)
            SD_TRY(sd_run_save(run, planned));
    }
    sd_loader_end(run->pipeline.loader);
    return SD_OK;
}

static sd_status train(sd_run *run) {
    const sd_config *config = run->session.config;
    const sd_progress *p = &run->progress;
    sd_request request = {0};
    if (config->communication.check_every > 0)
        SD_TRY(check_weights(run));
    while (!sd_run_is_finished(run) && !request.stop) {
        SD_TRY(train_epoch(run, &request));
        /* Asked to stop, before scoring or while it lasts, save at once: the resumed run ends the epoch. */
        const double ended = sd_clock_seconds();
        if (p->batch == run->pipeline.epoch_plan.steps && !request.stop)
            SD_TRY(sd_run_end_epoch(run, &request.stop));
        const bool epoch_ended = p->batch == 0;
        sd_budget_note(&run->budget.epoch_end, ended);
        const bool planned =
            epoch_ended && (p->step == run->horizon.planned_steps || due(config->checkpoint.every_epochs, p->epoch) ||
                            due(config->checkpoint.every_steps, p->step));
        if (planned || request.stop || request.save || sd_run_is_finished(run))
            SD_TRY(sd_run_save(run, planned));
    }
    SD_TRY(sd_run_finish_saving(run));
    const bool complete = sd_run_is_finished(run);
    SD_TRY(sd_run_summarise(run, complete ? "complete" : "stopped", stdout));
    if (complete)
        return SD_OK;
    return sd_comm_agree(run->session.comm,
                         sd_fail(SD_STOPPED,
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
    const sd_session *session = &run->session;
    const int ranks = sd_comm_size(session->comm), threads = session->threads;
    sd_log_info("%s: %zu parameters, %d branches; %d rank%s x %d thread%s, %s kernels; files in %s",
                session->config->model.name, sd_network_parameters(run->trainer.network), run->trainer.drop.units,
                ranks, ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s", session->kernels->name,
                session->folders.run);
}

/* Brings the run to the checkpoint that was found. *complete: nothing is left to train, and summary.json says so. */
static sd_status go_on(sd_run *run, sd_resume *resume, bool *complete) {
    bool summarised;
    SD_TRY(sd_resume_check_data(resume, &run->session, run->pipeline.dataset));
    SD_TRY(sd_resume_apply(resume, run, true));
    SD_TRY(sd_resume_settle(resume, run, &summarised));
    sd_log_info("%s %s, step %llu of %llu", sd_run_is_finished(run) ? "already complete:" : "going on from",
                resume->path, (unsigned long long)run->progress.step, (unsigned long long)run->horizon.total_steps);
    *complete = sd_run_is_finished(run) && summarised && !resume->elsewhere;
    return SD_OK;
}

/* Brings a new run to the weights of model.init. */
static sd_status begin(sd_run *run, sd_config *config) {
    char text[SD_INIT_BYTES];
    SD_TRY(sd_init_adopt(run, config, text));
    if (text[0])
        sd_log_info("model.init: %s", text);
    return SD_OK;
}

static sd_status run_with(sd_comm *comm, sd_config *config, const char *job, sd_resume *resume, sd_run *run) {
    const bool is_elsewhere = resume->elsewhere, is_foreign = resume->foreign;
    bool complete = false;
    sd_init_keep(resume, config);
    SD_TRY(sd_run_open(run, comm, config, job, resume->found ? resume->info.isa : NULL));
    if (resume->found)
        SD_TRY(go_on(run, resume, &complete));
    else
        SD_TRY(begin(run, config));
    sd_resume_close(resume);
    if (complete)
        return SD_OK;
    sd_budget_begin(&run->budget, (double)config->run.max_seconds,
                    sd_trainer_state_bytes(&run->trainer, sd_comm_size(comm)));
    SD_TRY(sd_run_open_folder(run));
    SD_TRY(sd_comm_agree(comm, sd_saver_open(run)));
    if (run->progress.step == 0)
        announce(run);
    sd_timing_begin(&run->record.timing);
    run->horizon.first_step = run->progress.step + 1;
    if (is_elsewhere)
        SD_TRY(sd_resume_adopt(run, is_foreign));
    SD_TRY(sd_comm_agree(comm, sd_run_mark(run, "running")));
    const sd_status status = train(run);
    if (status == SD_ERR_DIVERGED)
        mark_divergence(run);
    return status;
}

static sd_status train_locked(sd_comm *comm, const sd_config *asked, const char *job) {
    sd_resume resume = {0};
    sd_run run = {0};
    sd_config *config = NULL; /* what run points to; knows the digest of model.init */
    sd_status status = sd_comm_agree(comm, sd_alloc(&config, 1, sizeof *config));
    if (status == SD_OK)
        status = sd_resume_find(comm, asked, job, &resume);
    if (status == SD_OK) {
        *config = *asked;
        status = run_with(comm, config, job, &resume, &run);
    }
    sd_resume_close(&resume);
    sd_run_close(&run);
    free(config);
    return status;
}

sd_status sd_train(sd_comm *comm, const sd_config *config, const char *job) {
    const sd_folders folders = sd_folders_of(config);
    sd_lock *lock = NULL;
    sd_status status = sd_watchdog_start(comm, (double)config->run.stall_seconds);
    if (status == SD_OK)
        status = sd_lock_take(comm, folders.run, &lock);
    sd_watchdog_lock(lock);
    if (status == SD_OK)
        status = train_locked(comm, config, job);
    sd_watchdog_stop();
    sd_lock_release(&lock);
    return status;
}
