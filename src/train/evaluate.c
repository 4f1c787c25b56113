/* SPDX-License-Identifier: Apache-2.0 */
/* --evaluate: a checkpoint on the validation images. */
#include <stdio.h>

#include "run.h"
#include "sdtrain/train.h"

/* The configuration asked for, with the checkpoint's stochastic depth: weights belong to their scale and rates. */
static sd_status adopt_drop(sd_comm *comm, const sd_resume *resume, sd_config *config) {
    static sd_config stored; /* large */
    sd_status status = SD_OK;
    sd_config_init(&stored);
    if (sd_comm_rank(comm) == 0)
        status = sd_config_parse(&stored, resume->info.config, resume->path);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &stored.stochastic_depth, sizeof stored.stochastic_depth));
    config->stochastic_depth = stored.stochastic_depth;
    return SD_OK;
}

static sd_status evaluate(sd_comm *comm, const sd_config *asked, sd_resume *resume, sd_run *run) {
    static sd_config config; /* large */
    sd_score score;
    config = *asked;
    config.log.trace[0] = '\0';          /* it writes nothing */
    config.run.seed = resume->info.seed; /* which images are held out */
    SD_TRY(adopt_drop(comm, resume, &config));
    SD_TRY(sd_run_open(run, comm, &config, NULL));
    sd_resume_compare_data(resume, run);
    SD_TRY(sd_resume_apply(resume, run, false));
    const uint64_t images = sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION);
    SD_TRY(sd_run_score(run, SD_SPLIT_VALIDATION, images, &score, NULL));
    if (sd_comm_rank(comm) == 0)
        printf("evaluate loss=%.6f top1=%.6f top5=%.6f images=%llu\n", score.loss, score.top1, score.top5,
               (unsigned long long)score.images);
    return SD_OK;
}

sd_status sd_train_evaluate(sd_comm *comm, const sd_config *config, const char *checkpoint) {
    sd_resume resume = {0};
    sd_run run = {0};
    sd_status status = sd_watchdog_start(comm, (double)config->run.stall_seconds);
    if (status == SD_OK)
        status = sd_resume_open(comm, checkpoint, &resume);
    if (status == SD_OK)
        status = evaluate(comm, config, &resume, &run);
    sd_resume_close(&resume);
    sd_run_close(&run);
    sd_watchdog_stop();
    return status;
}
