/* SPDX-License-Identifier: Apache-2.0 */
/* One training step, in the order in which its data goes: plan; for each shard batch, forward, loss, backward;
 * reduction, which began meanwhile; update, log. */
#include "step.h"

#include <math.h>
#include <string.h>

#include "epoch.h"
#include "sdtrain/clock.h"
#include "sdtrain/hash.h"

/* How many branches are computed for an image of the batch, on average. */
static double mean_kept(const sd_drop_plan *plan, uint64_t images) {
    uint64_t sum = 0;
    for (int i = 0; i < plan->units; i++)
        sum += plan->images[i];
    return (double)sum / (double)images;
}

/* This rank's part of the plan; NULL where the plan says it all. */
static const sd_drop_part *draw_part(sd_trainer *trainer, uint64_t step, int rank, sd_range share) {
    if (trainer->drop.scope == SD_DROP_SCOPE_GLOBAL)
        return NULL;
    sd_drop_part_draw(&trainer->drop, step, rank, share, &trainer->part);
    return &trainer->part;
}

/* What is summed over the shards of a step. */
enum { SUM_LOSS, SUM_CORRECT, SUM_STOP, SUM_SPENT, SUM_SAVE, SUM_LR, SUM_UNREADABLE, SUMS };
_Static_assert((int)SUMS <= (int)SD_MAX_SUMS, "raise SD_MAX_SUMS");

/* An sd_segment_done. */
static void segment_done(void *context, int segment) {
    sd_run *run = context;
    sd_watch("backward", run->progress.step + 1);
    sd_reducer_segment_done(run->trainer.reducer, segment);
    sd_trace_segment(&run->record, run->trainer.network, segment);
}

/* Forward and backward pass of a shard of a batch of images. sums: [SUMS], of this shard. If its images cannot be
 * read, the passes take place all the same, as other ranks wait for their gradients. */
static sd_status run_shard(sd_run *run, int shard, uint64_t step, uint64_t images, double *sums) {
    sd_trainer *trainer = &run->trainer;
    const sd_range share = sd_pipeline_shard(&run->pipeline, images, shard);
    double now = sd_clock_seconds();
    sd_watch("waiting for images", step);
    sd_batch batch;
    const sd_status status = sd_loader_next(run->pipeline.loader, &batch);
    sums[SUM_UNREADABLE] = status != SD_OK;
    const sd_drop_part *part = draw_part(trainer, step, sd_comm_rank(run->session.comm), share);
    const sd_pass pass = {.images = batch.images,
                          .training = true,
                          .plan = &trainer->plan,
                          .part = part,
                          .batch_share = (float)((double)batch.images / (double)images),
                          .gradients = sd_reducer_begin_shard(trainer->reducer, part),
                          .seed = trainer->drop.seed,
                          .step = step,
                          .first_image = share.first};
    now = sd_record_charge(&run->record, SD_PHASE_DATA, now);
    sd_watch("forward", step);

    const float *logits = sd_network_forward(trainer->network, &pass, &batch.input);
    sd_loss_sums of_shard = {0};
    sd_loss_forward(trainer->loss, batch.images, logits, &batch.targets, &of_shard);
    sums[SUM_LOSS] = of_shard.loss;
    sums[SUM_CORRECT] = (double)of_shard.top1;
    float *dlogits = sd_loss_backward(trainer->loss, batch.images, logits, &batch.targets, images);
    now = sd_record_charge(&run->record, SD_PHASE_FORWARD, now);
    sd_watch("backward", step);

    sd_network_backward(trainer->network, &pass, &batch.input, dlogits, segment_done, run);
    sd_record_charge(&run->record, SD_PHASE_BACKWARD, now);
    return status;
}

/* Whether this rank's clock says that the step under way, of so many images, is the last there is time for. */
static bool out_of_time(const sd_run *run, uint64_t images) {
    const bool epoch_ends = run->progress.batch + 1 == run->pipeline.epoch_plan.steps;
    return sd_budget_spent(&run->budget, epoch_ends, sd_run_scored_images(run), images);
}

/* What this rank adds to the sums beside its shards' results. */
static void ask(const sd_run *run, uint64_t images, double *sums) {
    sums[SUM_STOP] = sd_stop_requested();
    sums[SUM_SPENT] = out_of_time(run, images);
    sums[SUM_SAVE] = sd_run_save_is_due(run);
    /* A sum with zeros: rank 0's for all, as cos() and pow() may differ in the last bit between processors. */
    if (sd_session_is_root(&run->session))
        sums[SUM_LR] =
            sd_lr_of_batch(run->session.config, &run->progress, run->progress.batch, run->pipeline.epoch_plan.steps);
}

/* computed: the clock when this rank's last backward pass ended. */
static void charge_reduction(sd_record *record, const sd_traffic *traffic, double computed) {
    sd_timing *timing = &record->timing;
    sd_trace_phase(record, SD_PHASE_WAIT, computed, computed + traffic->waiting);
    sd_trace_phase(record, SD_PHASE_COMMUNICATION, computed + traffic->waiting, sd_clock_seconds());
    timing->seconds[SD_PHASE_BACKWARD] -= traffic->driving; /* which was within it */
    timing->seconds[SD_PHASE_COMMUNICATION] += traffic->driving + traffic->transfer;
    timing->seconds[SD_PHASE_WAIT] += traffic->waiting;
    timing->waited += traffic->waiting;
}

/* Of what all ranks must have decided alike before the step. */
static uint64_t hash_of(const sd_trainer *trainer, uint64_t step, const sd_row_set *rows) {
    const uint64_t plan = sd_drop_plan_hash(&trainer->drop, step, &trainer->plan);
    const uint64_t parts[] = {plan, rows ? sd_hash(rows->row, rows->n * sizeof *rows->row) : 0};
    return rows ? sd_hash(parts, sizeof parts) : plan;
}

/* The sums over all shards come into sums[0..SUMS), the loss of this rank's into *loss_here. Collective. */
static sd_status run_shards(sd_run *run, uint64_t step, uint64_t images, double *sums, double *loss_here,
                            sd_traffic *traffic) {
    sd_trainer *trainer = &run->trainer;
    const int shards = run->pipeline.shards_here;
    memset(sums, 0, (size_t)shards * SUMS * sizeof *sums);
    ask(run, images, sums);
    const sd_row_set *rows = sd_pipeline_rows(&run->pipeline, run->progress.batch);
    sd_reducer_begin(trainer->reducer, &trainer->plan, rows, hash_of(trainer, step, rows));
    sd_status read = SD_OK;
    for (int shard = 0; shard < shards; shard++)
        read = run_shard(run, shard, step, images, sums + shard * SUMS); /* once not OK, it stays so */
    *loss_here = 0;
    for (int shard = 0; shard < shards; shard++)
        *loss_here += sums[shard * SUMS + SUM_LOSS];
    const double computed = sd_clock_seconds();
    sd_watch("summing gradients over ranks", step);
    SD_TRY(sd_reducer_end(trainer->reducer, sums, SUMS, traffic));
    if (sums[SUM_UNREADABLE] > 0) /* all ranks see it, and only then agree: a step has no collective more for it */
        SD_TRY(sd_comm_agree(run->session.comm, read));
    charge_reduction(&run->record, traffic, computed);
    return SD_OK;
}

/* updates: steps whose gradients were used, this one among them. */
static void update(sd_trainer *trainer, sd_rank_divisor divisor, uint64_t images, double lr, uint64_t updates) {
    if (divisor == SD_RANK_DIVISOR_KEPT)
        sd_gradients_divide_by_kept(trainer->network, &trainer->plan, images);
    sd_network_update_statistics(trainer->network, &trainer->plan);
    sd_optimizer_step(trainer->optimizer, &trainer->plan, lr, updates);
}

/* The run's sums grow by those of a step that has changed the weights. */
static void count(sd_progress *progress, const sd_drop_plan *plan, uint64_t images, const double *sums) {
    const double kept = mean_kept(plan, images);
    progress->epoch_images += images;
    progress->epoch_correct += (uint64_t)sums[SUM_CORRECT];
    progress->epoch_loss += sums[SUM_LOSS];
    progress->epoch_kept += kept;
    progress->epoch_decisions += (uint64_t)plan->units;
    progress->images += images;
    progress->kept += kept;
    progress->decisions += (uint64_t)plan->units;
}

static sd_status write_row(sd_run *run, uint64_t images, double lr, const double *sums, size_t bytes_reduced,
                           double seconds) {
    const sd_drop_plan *plan = &run->trainer.plan;
    const sd_step_row row = {.step = run->progress.step,
                             .epoch = run->progress.epoch + 1,
                             .lr = lr,
                             .loss = sums[SUM_LOSS] / (double)images,
                             .accuracy = sums[SUM_CORRECT] / (double)images,
                             .branches = plan->units,
                             .kept = mean_kept(plan, images),
                             .bytes_reduced = bytes_reduced,
                             .bytes_full = 4 * sd_network_parameters(run->trainer.network),
                             .seconds = seconds,
                             .images_per_second = (double)images / seconds};
    return sd_logs_step(&run->record.logs, &row);
}

static void show(sd_run *run) {
    const sd_progress *p = &run->progress;
    const double seen = (double)p->epoch_images;
    char loss[32], accuracy[32];
    sd_console_progress(
        &run->record.console, "epoch %llu/%lld  step %llu/%llu  loss %s  accuracy %s  %.0f images/s",
        (unsigned long long)p->epoch + 1, (long long)run->session.config->train.epochs, (unsigned long long)p->step,
        (unsigned long long)run->horizon.total_steps, sd_console_number(p->epoch_loss / seen, 4, "", loss),
        sd_console_number(100 * (double)p->epoch_correct / seen, 1, " %", accuracy), seen / p->epoch_seconds);
}

sd_status sd_run_step(sd_run *run, sd_request *request) {
    const sd_config *config = run->session.config;
    sd_comm *comm = run->session.comm;
    sd_trainer *trainer = &run->trainer;
    sd_progress *progress = &run->progress;
    sd_timing *timing = &run->record.timing;
    const uint64_t step = progress->step + 1;
    const uint64_t images = sd_epoch_plan_batch_images(&run->pipeline.epoch_plan, progress->batch);
    double *sums = trainer->sums, loss_here;
    bool usable;
    sd_traffic traffic;

    sd_watch("drop plan", step);
    sd_drop_plan_draw(&trainer->drop, step, images, &trainer->plan);
    if (config->log.decisions)
        SD_TRY(sd_log_decisions(&run->session, trainer, &run->record.logs, step, images));
    SD_TRY(sd_trace_begin_step(&run->record, &run->session, step, run->horizon.first_step));
    SD_TRY(run_shards(run, step, images, sums, &loss_here, &traffic));
    const double lr = sums[SUM_LR];

    double now = sd_clock_seconds();
    sd_watch("optimizer", step);
    SD_TRY(sd_check_finite(&run->session, trainer, progress, sums[SUM_LOSS], loss_here, &usable));
    if (usable)
        update(trainer, config->stochastic_depth.rank_divisor, images, lr, step - progress->skipped_steps);
    else
        sd_reducer_restore_error(trainer->reducer);
    now = sd_record_charge(&run->record, SD_PHASE_OPTIMIZER, now);
    SD_TRY(sd_trace_end_step(&run->record, &run->session, trainer, step));

    progress->step = step;
    double seconds = now - timing->step_begin;
    timing->step_begin = now;
    progress->batch++;
    if (usable)
        count(progress, &trainer->plan, images, sums);
    else
        progress->skipped_steps++;
    progress->epoch_seconds += seconds;
    progress->seconds += seconds;
    timing->stepped += seconds;
    if (sd_comm_size(comm) > 1) {
        progress->bytes_reduced += traffic.parameter_bytes;
        progress->bytes_full += 4 * sd_network_parameters(trainer->network);
    }
    run->budget.step = fmax(run->budget.step, seconds);
    run->budget.spent = sums[SUM_SPENT] > 0;
    *request = (sd_request){.stop = sums[SUM_STOP] > 0 || run->budget.spent, .save = sums[SUM_SAVE] > 0};

    if (config->log.every_steps > 0 && step % (uint64_t)config->log.every_steps == 0) {
        sd_watch("log", step);
        SD_TRY(sd_comm_max(comm, &seconds, 1));
        if (sd_session_is_root(&run->session))
            SD_TRY(write_row(run, images, lr, sums, traffic.parameter_bytes, seconds));
    }
    if (sd_session_is_root(&run->session))
        show(run);
    return SD_OK;
}
