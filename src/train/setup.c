/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"
#include "sdtrain/clock.h"

/* Allowed for listing the files of millions of images on a slow disk, and for measuring them (normalise = dataset). */
enum { FIND_SECONDS = 24 * 3600 };

/* Ranks may fail apart. */
static sd_status open_parts(sd_run *run) {
    const sd_session *session = &run->session;
    uint64_t min_shard_images;
    SD_TRY(sd_trainer_check(session, sd_dataset_describe(&run->pipeline.spec), &min_shard_images));
    sd_watch_slow("opening the data", 0, FIND_SECONDS);
    SD_TRY(sd_pipeline_open(&run->pipeline, session, min_shard_images));
    sd_watch("setting up the network", 0);
    SD_TRY(sd_trainer_open(&run->trainer, session, &run->pipeline));
    return sd_trace_prepare(&run->record, session, &run->pipeline, run->trainer.network);
}

sd_status sd_run_open(sd_run *run, sd_comm *comm, const sd_config *config, const char *job, const char *isa) {
    *run = (sd_run){0};
    sd_console_init(&run->record.console, stderr, config->log.progress);
    SD_TRY(sd_session_open(&run->session, comm, config, job, isa));
    sd_watch_slow("finding the data", 0, FIND_SECONDS);
    SD_TRY(sd_pipeline_find(&run->pipeline, &run->session));
    const sd_status status = open_parts(run);
    sd_watch("waiting for the other ranks to be set up", 0);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_check_same(comm, sd_pipeline_hash(&run->pipeline), "data set"));
    if (config->communication.progress == SD_COMMUNICATION_THREAD)
        SD_TRY(sd_comm_agree(comm, sd_comm_start_thread(comm)));
    sd_watchdog_reducer(run->trainer.reducer);
    SD_TRY(sd_trainer_initialise(&run->trainer, &run->session));
    run->progress = sd_progress_initial();
    run->progress.run_id = sd_run_id_draw();
    sd_run_plan_end(run);
    sd_timing_begin(&run->record.timing);
    run->saver.last_seconds = sd_clock_seconds();
    return SD_OK;
}

void sd_run_close(sd_run *run) {
    sd_saver_close(run); /* waits for what is being written */
    sd_watchdog_reducer(NULL);
    sd_trace_free(&run->record.trace);
    sd_logs_close(&run->record.logs);
    sd_trainer_close(&run->trainer);
    sd_pipeline_close(&run->pipeline);
}

void sd_run_plan_end(sd_run *run) {
    sd_horizon_plan(&run->horizon, &run->progress, run->session.config, run->pipeline.epoch_plan.steps);
}

bool sd_run_is_finished(const sd_run *run) {
    return sd_horizon_is_reached(&run->horizon, &run->progress, run->session.config, run->pipeline.epoch_plan.steps);
}
