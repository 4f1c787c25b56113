/* SPDX-License-Identifier: Apache-2.0 */
/* One training step, in the order in which its data goes: plan; for each shard batch, forward, loss, backward;
 * reduction, which began meanwhile; update, log. */
#include <math.h>
#include <string.h>

#include "run.h"
#include "sdtrain/clock.h"

/* How many branches are computed for an image of the batch, on average. */
static double mean_kept(const sd_drop_plan *plan, uint64_t images) {
    uint64_t sum = 0;
    for (int i = 0; i < plan->units; i++)
        sum += plan->images[i];
    return (double)sum / (double)images;
}

/* This rank's part of the plan; NULL where the plan says it all. */
static const sd_drop_part *draw_part(sd_run *run, uint64_t step, sd_range share) {
    if (run->drop.scope == SD_DROP_SCOPE_GLOBAL)
        return NULL;
    sd_drop_part_draw(&run->drop, step, sd_comm_rank(run->comm), share, &run->part);
    return &run->part;
}

/* What is summed over the shards of a step. */
enum { SUM_LOSS, SUM_CORRECT, SUM_STOP, SUM_SPENT, SUM_SAVE, SUM_LR, SUM_UNREADABLE, SUMS };
_Static_assert((int)SUMS <= (int)SD_MAX_SUMS, "raise SD_MAX_SUMS");

static sd_status write_row(sd_run *run, uint64_t images, double lr, const double *sums, size_t bytes_reduced,
                           double seconds) {
    const sd_progress *progress = &run->progress;
    char loss[32];
    return sd_csv_row(&run->steps_csv, "%llu,%llu,%.9g,%s,%.9g,%d,%.9g,%zu,%zu,%.6f,%.3f\n",
                      (unsigned long long)progress->step, (unsigned long long)progress->epoch + 1, lr,
                      sd_csv_number(sums[SUM_LOSS] / (double)images, loss), sums[SUM_CORRECT] / (double)images,
                      run->plan.units, mean_kept(&run->plan, images), bytes_reduced,
                      4 * sd_network_parameters(run->network), seconds, (double)images / seconds);
}

/* An sd_segment_done. */
static void segment_done(void *context, int segment) {
    sd_run *run = context;
    sd_watch("backward", run->progress.step + 1);
    sd_reducer_segment_done(run->reducer, segment);
    sd_run_trace_segment(run, segment);
}

/* Forward and backward pass of a shard of a batch of images. sums: [SUMS], of this shard. If its images cannot be
 * read, the passes take place all the same, as other ranks wait for their gradients. */
static sd_status run_shard(sd_run *run, int shard, uint64_t step, uint64_t images, double *sums) {
    const sd_range share = sd_run_shard(run, images, shard);
    double now = sd_clock_seconds();
    sd_watch("waiting for images", step);
    sd_batch batch;
    const sd_status status = sd_loader_next(run->loader, &batch);
    sums[SUM_UNREADABLE] = status != SD_OK;
    const sd_drop_part *part = draw_part(run, step, share);
    const sd_pass pass = {.images = batch.images,
                          .training = true,
                          .plan = &run->plan,
                          .part = part,
                          .batch_share = (float)((double)batch.images / (double)images),
                          .gradients = sd_reducer_begin_shard(run->reducer, part),
                          .seed = run->drop.seed,
                          .step = step,
                          .first_image = share.first};
    now = sd_run_charge(run, SD_PHASE_DATA, now);
    sd_watch("forward", step);

    const float *logits = sd_network_forward(run->network, &pass, &batch.input);
    sd_loss_sums of_shard = {0};
    sd_loss_forward(run->loss, batch.images, logits, &batch.targets, &of_shard);
    sums[SUM_LOSS] = of_shard.loss;
    sums[SUM_CORRECT] = (double)of_shard.top1;
    float *dlogits = sd_loss_backward(run->loss, batch.images, logits, &batch.targets, images);
    now = sd_run_charge(run, SD_PHASE_FORWARD, now);
    sd_watch("backward", step);

    sd_network_backward(run->network, &pass, &batch.input, dlogits, segment_done, run);
    sd_run_charge(run, SD_PHASE_BACKWARD, now);
    return status;
}

/* Whether this rank's clock says that the step under way, of so many images, is the last there is time for. */
static bool out_of_time(const sd_run *run, uint64_t images) {
    const bool epoch_ends = run->progress.batch + 1 == run->epoch_plan.steps;
    return sd_budget_spent(&run->budget, epoch_ends, sd_run_scored_images(run), images);
}

/* The sums over all shards come into sums[0..SUMS), the loss of this rank's into *loss_here. Collective. */
static sd_status run_shards(sd_run *run, uint64_t step, uint64_t images, double *sums, double *loss_here,
                            sd_traffic *traffic) {
    memset(sums, 0, (size_t)run->shards_here * SUMS * sizeof *sums);
    sums[SUM_STOP] = sd_stop_requested();
    sums[SUM_SPENT] = out_of_time(run, images);
    sums[SUM_SAVE] = sd_run_save_is_due(run);
    /* A sum with zeros: rank 0's for all, as cos() and pow() may differ in the last bit between processors. */
    if (sd_comm_rank(run->comm) == 0)
        sums[SUM_LR] = sd_run_lr(run, run->progress.batch);
    sd_reducer_begin(run->reducer, &run->plan, sd_drop_plan_hash(&run->drop, step, &run->plan));
    sd_status read = SD_OK;
    for (int shard = 0; shard < run->shards_here; shard++)
        read = run_shard(run, shard, step, images, sums + shard * SUMS); /* once not OK, it stays so */
    *loss_here = 0;
    for (int shard = 0; shard < run->shards_here; shard++)
        *loss_here += sums[shard * SUMS + SUM_LOSS];
    const double computed = sd_clock_seconds();
    sd_watch("summing gradients over ranks", step);
    SD_TRY(sd_reducer_end(run->reducer, sums, SUMS, traffic));
    if (sums[SUM_UNREADABLE] > 0) /* all ranks see it, and only then agree: a step has no collective more for it */
        SD_TRY(sd_comm_agree(run->comm, read));
    sd_run_trace_phase(run, SD_PHASE_WAIT, computed, computed + traffic->waiting);
    sd_run_trace_phase(run, SD_PHASE_COMMUNICATION, computed + traffic->waiting, sd_clock_seconds());
    run->timing[SD_PHASE_BACKWARD] -= traffic->driving; /* which was within it */
    run->timing[SD_PHASE_COMMUNICATION] += traffic->driving + traffic->transfer;
    run->timing[SD_PHASE_WAIT] += traffic->waiting;
    run->waited += traffic->waiting;
    return SD_OK;
}

static void update(sd_run *run, uint64_t images, double lr, uint64_t step) {
    if (run->config->stochastic_depth.rank_divisor == SD_RANK_DIVISOR_KEPT)
        sd_gradients_divide_by_kept(run->network, &run->plan, images);
    sd_network_update_statistics(run->network, &run->plan);
    sd_optimizer_step(run->optimizer, &run->plan, lr, step - run->progress.skipped_steps);
}

/* The run's sums grow by those of a step that has changed the weights. */
static void count(sd_run *run, uint64_t images, const double *sums) {
    sd_progress *progress = &run->progress;
    const double kept = mean_kept(&run->plan, images);
    progress->epoch_images += images;
    progress->epoch_correct += (uint64_t)sums[SUM_CORRECT];
    progress->epoch_loss += sums[SUM_LOSS];
    progress->epoch_kept += kept;
    progress->epoch_decisions += (uint64_t)run->plan.units;
    progress->images += images;
    progress->kept += kept;
    progress->decisions += (uint64_t)run->plan.units;
}

static void show(sd_run *run) {
    const sd_progress *p = &run->progress;
    const double seen = (double)p->epoch_images;
    char loss[32], accuracy[32];
    sd_console_progress(
        &run->console, "epoch %llu/%lld  step %llu/%llu  loss %s  accuracy %s  %.0f images/s",
        (unsigned long long)p->epoch + 1, (long long)run->config->train.epochs, (unsigned long long)p->step,
        (unsigned long long)run->total_steps, sd_console_number(p->epoch_loss / seen, 4, "", loss),
        sd_console_number(100 * (double)p->epoch_correct / seen, 1, " %", accuracy), seen / p->epoch_seconds);
}

sd_status sd_run_step(sd_run *run, sd_request *request) {
    const sd_config *config = run->config;
    sd_progress *progress = &run->progress;
    const uint64_t step = progress->step + 1;
    const uint64_t images = sd_epoch_plan_batch_images(&run->epoch_plan, progress->batch);
    double *sums = run->sums, loss_here;
    bool usable;
    sd_traffic traffic;

    sd_watch("drop plan", step);
    sd_drop_plan_draw(&run->drop, step, images, &run->plan);
    if (config->log.decisions)
        SD_TRY(sd_run_log_decisions(run, step, images));
    SD_TRY(sd_run_begin_trace(run, step));
    SD_TRY(run_shards(run, step, images, sums, &loss_here, &traffic));
    const double lr = sums[SUM_LR];

    double now = sd_clock_seconds();
    sd_watch("optimizer", step);
    SD_TRY(sd_run_check_finite(run, step, sums[SUM_LOSS], loss_here, &usable));
    if (usable)
        update(run, images, lr, step);
    else
        sd_reducer_restore_error(run->reducer);
    now = sd_run_charge(run, SD_PHASE_OPTIMIZER, now);
    SD_TRY(sd_run_end_trace(run, step));

    progress->step = step;
    double seconds = now - run->step_begin;
    run->step_begin = now;
    progress->batch++;
    if (usable)
        count(run, images, sums);
    else
        progress->skipped_steps++;
    progress->epoch_seconds += seconds;
    progress->seconds += seconds;
    run->stepped += seconds;
    if (sd_comm_size(run->comm) > 1) {
        progress->bytes_reduced += traffic.parameter_bytes;
        progress->bytes_full += 4 * sd_network_parameters(run->network);
    }
    run->budget.step = fmax(run->budget.step, seconds);
    run->budget.spent = sums[SUM_SPENT] > 0;
    *request = (sd_request){.stop = sums[SUM_STOP] > 0 || run->budget.spent, .save = sums[SUM_SAVE] > 0};

    if (config->log.every_steps > 0 && step % (uint64_t)config->log.every_steps == 0) {
        sd_watch("log", step);
        SD_TRY(sd_comm_max(run->comm, &seconds, 1));
        if (sd_comm_rank(run->comm) == 0)
            SD_TRY(write_row(run, images, lr, sums, traffic.parameter_bytes, seconds));
    }
    if (sd_comm_rank(run->comm) == 0)
        show(run);
    return SD_OK;
}
