/* One training step, in the order in which its data goes: plan; for each shard batch, forward, loss, backward; reduction, which
 * began meanwhile; update, log. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"

/* Gathers every rank's own plan, compares them, and writes the row of decisions.csv. Collective. */
static sd_status log_decisions(sd_run *run, uint64_t step) {
    const size_t units = (size_t)run->plan.units;
    const int ranks = sd_comm_size(run->comm);
    const bool root = sd_comm_rank(run->comm) == 0;
    unsigned char *all = NULL;
    sd_status status = root ? sd_alloc(&all, units * (size_t)ranks, 1) : SD_OK;
    SD_TRY(sd_comm_agree(run->comm, status));
    SD_TRY(sd_comm_gather(run->comm, run->plan.kept, units, all));
    if (root) {
        for (int r = 1; r < ranks && status == SD_OK; r++)
            for (size_t i = 0; i < units && status == SD_OK; i++)
                if (all[(size_t)r * units + i] != all[i])
                    status = sd_fail(SD_ERR_INTERNAL,
                                     "step %llu: rank %d decides otherwise than rank 0 about branch %zu (%s)",
                                     (unsigned long long)step, r, i + 1, sd_network_unit(run->network, (int)i)->name);
        for (size_t i = 0; i < units; i++)
            all[i] = all[i] ? '1' : '0';
        if (status == SD_OK)
            status =
                sd_csv_row(&run->decisions_csv, "%llu,%.*s\n", (unsigned long long)step, (int)units, (const char *)all);
    }
    free(all);
    return sd_comm_agree(run->comm, status);
}

/* What is summed over the shards of a step. */
enum { SUM_LOSS, SUM_CORRECT, SUM_STOP, SUMS };
_Static_assert((int)SUMS <= (int)SD_RUN_MAX_SUMS, "raise SD_RUN_MAX_SUMS");

static sd_status write_row(sd_run *run, uint64_t images, double lr, const double *sums, size_t bytes_reduced,
                           double seconds) {
    const sd_progress *progress = &run->progress;
    return sd_csv_row(&run->steps_csv, "%llu,%llu,%.9g,%.9g,%.9g,%d,%d,%zu,%zu,%.6f,%.3f\n",
                      (unsigned long long)progress->step, (unsigned long long)progress->epoch + 1, lr,
                      sums[SUM_LOSS] / (double)images, sums[SUM_CORRECT] / (double)images, run->plan.units,
                      run->plan.kept_units, bytes_reduced, 4 * sd_network_parameters(run->network), seconds,
                      (double)images / seconds);
}

/* Forward and backward pass of a shard of a batch of images. sums: [SUMS], of this shard. */
static void run_shard(sd_run *run, int shard, uint64_t step, uint64_t images, double *sums) {
    const int classes = sd_network_classes(run->network);
    const float smoothing = (float)run->config->train.label_smoothing;
    double now = sd_clock_seconds();
    const sd_batch batch = sd_loader_next(run->loader);
    const sd_pass pass = {.images = batch.images,
                          .training = true,
                          .plan = &run->plan,
                          .batch_share = (float)((double)batch.images / (double)images),
                          .seed = run->law.seed,
                          .step = step,
                          .first_image = sd_run_shard(run, images, shard).first};
    now = sd_run_charge(run, SD_PHASE_DATA, now);

    sd_reducer_begin_shard(run->reducer, pass.part); /* batch statistics are written forward already */
    const float *logits = sd_network_forward(run->network, &pass, batch.x);
    run->kernels->cross_entropy_forward((size_t)batch.images, classes, logits, batch.labels, smoothing, run->losses,
                                        run->label_ranks);
    for (int i = 0; i < batch.images; i++) {
        sums[SUM_LOSS] += run->losses[i];
        sums[SUM_CORRECT] += run->label_ranks[i] == 0;
    }
    run->kernels->cross_entropy_backward((size_t)batch.images, classes, logits, batch.labels, smoothing,
                                         (float)(1.0 / (double)images), run->dlogits);
    now = sd_run_charge(run, SD_PHASE_FORWARD, now);

    sd_network_backward(run->network, &pass, batch.x, run->dlogits, sd_reducer_segment_done, run->reducer);
    sd_run_charge(run, SD_PHASE_BACKWARD, now);
}

/* The sums over all shards come into sums[0..SUMS). Collective. */
static sd_status run_shards(sd_run *run, uint64_t step, uint64_t images, double *sums, sd_traffic *traffic) {
    memset(sums, 0, (size_t)run->shards_here * SUMS * sizeof *sums);
    sums[SUM_STOP] = sd_stop_requested();
    sd_reducer_begin(run->reducer, &run->plan, sd_hash_plan(&run->law, step, &run->plan));
    for (int shard = 0; shard < run->shards_here; shard++)
        run_shard(run, shard, step, images, sums + shard * SUMS);
    SD_TRY(sd_reducer_end(run->reducer, sums, SUMS, traffic));
    run->timing[SD_PHASE_BACKWARD] -= traffic->driving; /* which was within it */
    run->timing[SD_PHASE_COMMUNICATION] += traffic->driving + traffic->transfer;
    run->timing[SD_PHASE_WAIT] += traffic->waiting;
    run->waited += traffic->waiting;
    return SD_OK;
}

sd_status sd_run_step(sd_run *run, bool *stop) {
    const sd_config *config = run->config;
    sd_progress *progress = &run->progress;
    const uint64_t step = progress->step + 1;
    const uint64_t images = sd_epoch_plan_batch_images(&run->epoch_plan, progress->batch);
    const double lr = sd_lr_at(config, progress->step, run->epoch_plan.steps);
    double *sums = run->sums;
    sd_traffic traffic;

    sd_drop_plan_draw(&run->law, step, images, &run->plan);
    if (config->log.decisions)
        SD_TRY(log_decisions(run, step));
    SD_TRY(run_shards(run, step, images, sums, &traffic));
    if (!isfinite(sums[SUM_LOSS]))
        return sd_comm_agree(run->comm, sd_fail(SD_ERR_DIVERGED,
                                                "training diverged: the loss of step %llu is not finite; lower "
                                                "lr.base (%g) or lengthen lr.warmup_epochs, and start again or from %s",
                                                (unsigned long long)step, config->lr.base, run->checkpoints));

    double now = sd_clock_seconds();
    sd_network_update_statistics(run->network, &run->plan);
    sd_optimizer_step(run->optimizer, &run->plan, lr, step);
    now = sd_run_charge(run, SD_PHASE_OPTIMIZER, now);

    progress->step = step;
    double seconds = now - run->step_begin;
    run->step_begin = now;
    progress->batch++;
    progress->epoch_images += images;
    progress->epoch_correct += (uint64_t)sums[SUM_CORRECT];
    progress->epoch_loss += sums[SUM_LOSS];
    progress->epoch_kept += (uint64_t)run->plan.kept_units;
    progress->epoch_decisions += (uint64_t)run->plan.units;
    progress->epoch_seconds += seconds;
    progress->images += images;
    progress->kept += (uint64_t)run->plan.kept_units;
    progress->decisions += (uint64_t)run->plan.units;
    progress->seconds += seconds;
    run->stepped += seconds;
    if (sd_comm_size(run->comm) > 1) {
        progress->bytes_reduced += traffic.parameter_bytes;
        progress->bytes_full += 4 * sd_network_parameters(run->network);
    }
    *stop = sums[SUM_STOP] > 0;

    if (config->log.every_steps > 0 && step % (uint64_t)config->log.every_steps == 0) {
        SD_TRY(sd_comm_max(run->comm, &seconds, 1));
        if (sd_comm_rank(run->comm) == 0)
            SD_TRY(write_row(run, images, lr, sums, traffic.parameter_bytes, seconds));
    }
    if (sd_comm_rank(run->comm) == 0)
        sd_console_progress(
            &run->console, "epoch %llu/%lld  step %llu/%llu  loss %.4f  accuracy %.1f %%  %.0f images/s",
            (unsigned long long)progress->epoch + 1, (long long)config->train.epochs, (unsigned long long)step,
            (unsigned long long)run->total_steps, progress->epoch_loss / (double)progress->epoch_images,
            100.0 * (double)progress->epoch_correct / (double)progress->epoch_images,
            (double)progress->epoch_images / progress->epoch_seconds);
    return SD_OK;
}
