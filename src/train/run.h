/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: a run is its parts, each with a header of its own, and where it has got to. */
#ifndef SDTRAIN_TRAIN_RUN_H
#define SDTRAIN_TRAIN_RUN_H

#include "horizon.h"
#include "pipeline.h"
#include "record.h"
#include "saver.h"
#include "sdtrain/guard.h"
#include "session.h"
#include "trainer.h"

struct sd_run {
    sd_session session;
    sd_pipeline pipeline;
    sd_trainer trainer;
    sd_record record;
    sd_saver saver;
    sd_progress progress;
    sd_horizon horizon;
    sd_budget budget;
};

/* Brings up all parts of a run on all ranks, at its beginning. isa: as of sd_session_open(). Collective. Close in any
 * case. */
sd_status sd_run_open(sd_run *run, sd_comm *comm, const sd_config *config, const char *job, const char *isa);
void sd_run_close(sd_run *run);

/* sd_horizon_plan() and sd_horizon_is_reached() for the run as it is. Local. */
void sd_run_plan_end(sd_run *run);
bool sd_run_is_finished(const sd_run *run);

#endif
