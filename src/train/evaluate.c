/* SPDX-License-Identifier: Apache-2.0 */
/* --evaluate: a checkpoint on the validation images. */
#include <stdio.h>
#include <stdlib.h>

#include "epoch.h"
#include "resume.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/train.h"

/* The configuration asked for, with the checkpoint's stochastic depth: weights belong to their scale and rates. stored:
 * room for the checkpoint's configuration. Collective. */
static sd_status adopt_drop(sd_comm *comm, const sd_resume *resume, sd_config *stored, sd_config *config) {
    sd_status status = SD_OK;
    sd_config_init(stored);
    if (sd_comm_rank(comm) == 0)
        status = sd_config_parse(stored, resume->info.config, resume->path);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &stored->stochastic_depth, sizeof stored->stochastic_depth));
    config->stochastic_depth = stored->stochastic_depth;
    return SD_OK;
}

/* config: [2], of the evaluation, and room for the checkpoint's. The line goes to `to`. */
static sd_status evaluate(sd_comm *comm, sd_config *config, sd_resume *resume, sd_run *run, FILE *to) {
    sd_score score;
    config->log.trace[0] = '\0';          /* it writes nothing */
    config->run.seed = resume->info.seed; /* which images are held out */
    SD_TRY(adopt_drop(comm, resume, config + 1, config));
    SD_TRY(sd_run_open(run, comm, config, NULL, NULL));
    sd_resume_compare_data(resume, run->pipeline.dataset);
    SD_TRY(sd_resume_apply(resume, run, false));
    const uint64_t images = sd_dataset_images(run->pipeline.dataset, SD_SPLIT_VALIDATION);
    SD_TRY(sd_run_score(run, SD_SPLIT_VALIDATION, images, &score, NULL));
    if (sd_comm_rank(comm) == 0)
        fprintf(to, "evaluate loss=%.6f top1=%.6f top5=%.6f images=%llu\n", score.loss, score.top1, score.top5,
                (unsigned long long)score.images);
    return SD_OK;
}

sd_status sd_train_evaluate(sd_comm *comm, const sd_config *config, const char *checkpoint) {
    sd_resume resume = {0};
    sd_run run = {0};
    sd_config *configs = NULL; /* what run points to */
    sd_status status = sd_watchdog_start(comm, (double)config->run.stall_seconds);
    if (status == SD_OK)
        status = sd_comm_agree(comm, sd_alloc(&configs, 2, sizeof *configs));
    if (status == SD_OK)
        status = sd_resume_open(comm, checkpoint, &resume);
    if (status == SD_OK) {
        configs[0] = *config;
        status = evaluate(comm, configs, &resume, &run, stdout);
    }
    sd_resume_close(&resume);
    sd_run_close(&run);
    sd_watchdog_stop();
    free(configs);
    return status;
}
