/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "epoch.h"
#include "sdtrain/clock.h"

enum { SUM_LOSS, SUM_TOP1, SUM_TOP5, SUM_IMAGES, SUM_PREDICTIONS, SUM_UNREADABLE, SUMS };
_Static_assert((int)SUMS <= (int)SD_MAX_SUMS, "raise SD_MAX_SUMS");

/* Scores the loader's next batch, of the images that are left. */
static sd_status score_batch(sd_run *run, sd_loss_sums *of_shard, uint64_t *left, double *sums) {
    sd_trainer *trainer = &run->trainer;
    sd_batch batch;
    sd_watch("evaluation", run->progress.step);
    const sd_status status = sd_loader_next(run->pipeline.loader, &batch);
    *left -= (uint64_t)(batch.images + batch.left_out);
    sums[SUM_IMAGES] += batch.images;
    const int predictions = sd_input_predictions(&batch.input, batch.images);
    sums[SUM_PREDICTIONS] += predictions;
    if (status != SD_OK || batch.images == 0)
        return status;
    const sd_pass pass = {.images = batch.images, .plan = &trainer->evaluation_plan};
    const float *logits = sd_network_forward(trainer->network, &pass, &batch.input);
    sd_loss_score(trainer->loss, predictions, logits, &batch.targets, of_shard);
    return SD_OK;
}

/* Whether any rank must stop. A start that has made no step yet does not heed its budget, or it would come to
 * nothing. Collective. */
static sd_status ask(sd_run *run, bool *stop) {
    const bool has_stepped = run->progress.step >= run->horizon.first_step;
    double request[] = {sd_stop_requested(), has_stepped && sd_budget_is_over(&run->budget)};
    sd_watch("evaluation: whether to stop", run->progress.step);
    SD_TRY(sd_comm_max(run->session.comm, request, 2));
    run->budget.spent = request[1] > 0;
    *stop = request[0] > 0 || request[1] > 0;
    return SD_OK;
}

/* All passes of this rank. Ranks may differ by one in their number, but ask as often. *read: whether this rank could
 * read its images; others see it in the sums. */
static sd_status score_all(sd_run *run, uint64_t n, double *sums, bool *stopped, sd_status *read) {
    const sd_pipeline *pipeline = &run->pipeline;
    const uint64_t at_once = (uint64_t)pipeline->max_images, shards = (uint64_t)pipeline->shards;
    const uint64_t largest = (n + shards - 1) / shards, passes = (largest + at_once - 1) / at_once;
    for (int shard = 0; shard < pipeline->shards_here; shard++) {
        uint64_t left = sd_pipeline_shard(pipeline, n, shard).count;
        double *to = sums + shard * SUMS;
        sd_loss_sums of_shard = {0};
        for (uint64_t pass = 0; pass < passes; pass++) {
            if (left > 0)
                *read = score_batch(run, &of_shard, &left, to); /* once not OK, it stays so */
            if (stopped)
                SD_TRY(ask(run, stopped));
            if (stopped && *stopped)
                return SD_OK;
        }
        to[SUM_LOSS] = of_shard.loss;
        to[SUM_TOP1] = (double)of_shard.top1;
        to[SUM_TOP5] = (double)of_shard.top5;
        to[SUM_UNREADABLE] = *read != SD_OK;
    }
    return SD_OK;
}

sd_status sd_run_score(sd_run *run, sd_split split, uint64_t n, sd_score *score, bool *stopped) {
    const double begin = sd_clock_seconds();
    sd_comm *comm = run->session.comm;
    const int shards = run->pipeline.shards_here;
    double *sums = run->trainer.sums; /* [shards][SUMS] */
    memset(sums, 0, (size_t)shards * SUMS * sizeof *sums);
    sd_pipeline_begin_scoring(&run->pipeline, split, n);
    sd_status read = SD_OK;
    SD_TRY(score_all(run, n, sums, stopped, &read));
    sd_loader_end(run->pipeline.loader);
    sd_watch("evaluation: sums", run->progress.step);
    SD_TRY(sd_comm_sum(comm, sums, shards, SUMS));
    if (sums[SUM_UNREADABLE] > 0)
        SD_TRY(sd_comm_agree(comm, read));
    *score = (sd_score){.loss = sums[SUM_LOSS] / sums[SUM_PREDICTIONS],
                        .top1 = sums[SUM_TOP1] / sums[SUM_PREDICTIONS],
                        .top5 = sums[SUM_TOP5] / sums[SUM_PREDICTIONS],
                        .images = (uint64_t)sums[SUM_IMAGES]};
    run->record.timing.step_begin = sd_record_charge(&run->record, SD_PHASE_EVALUATION, begin);
    return SD_OK;
}
