/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/hash.h"
#include "sdtrain/models.h"
#include "threads.h"

/* The best instruction set that all ranks have, or the one a checkpoint was trained with, if all have it and the
 * environment does not say otherwise. */
static sd_status choose_kernels(sd_run *run, const char *isa) {
    const char *forced = getenv("SD_ISA");
    SD_TRY(sd_comm_agree(run->comm, sd_kernels_select(NULL, &run->kernels)));
    int mine = 0;
    while (sd_kernels_at(mine) != run->kernels)
        mine++;
    double lowest = -mine;
    SD_TRY(sd_comm_max(run->comm, &lowest, 1));
    run->kernels = sd_kernels_at((int)-lowest);
    if (!isa || !strcmp(isa, run->kernels->name))
        return SD_OK;
    const sd_kernels *wanted;
    double missing = sd_kernels_select(isa, &wanted) != SD_OK || (forced && *forced); /* on any rank, for all */
    sd_error_clear();
    SD_TRY(sd_comm_max(run->comm, &missing, 1));
    if (missing == 0) {
        run->kernels = wanted;
        return SD_OK;
    }
    sd_log_warn(
        "the checkpoint was trained with %s kernels and goes on with %s: results stay right, but not bit for bit", isa,
        run->kernels->name);
    return SD_OK;
}

static const char *shards_name(const sd_run *run) {
    return run->config->communication.reduction == SD_REDUCTION_REPRODUCIBLE ? "shards" : "ranks";
}

/* That the configuration describes a network, with its rates, whose batch norms have enough images. The data's files
 * are not looked at for that. */
static sd_status check_model(sd_run *run) {
    const sd_config *config = run->config;
    const uint64_t batch = (uint64_t)config->train.batch_size;
    sd_network *outline = NULL;
    double *rate = NULL;
    const sd_data_spec data = sd_config_data(config);
    const sd_model_spec spec = sd_config_model(config, sd_dataset_describe(&data));
    sd_status status;
    SD_TRY_CLEANUP(sd_config_locate(config, sd_model_outline(&spec, run->kernels, 1, &outline)));
    SD_TRY_CLEANUP(sd_alloc(&rate, (size_t)sd_network_n_units(outline), sizeof *rate));
    SD_TRY_CLEANUP(sd_config_drop_rates(config, outline, rate));
    run->min_shard_images = sd_network_batchnorm_values(outline) == 1 ? 2 : 1;
    if (batch / (uint64_t)run->shards < run->min_shard_images)
        status = sd_config_fail(
            config, "train.batch_size",
            "%llu images over %d %s leave batch norm one value a channel; at least %llu images are needed",
            (unsigned long long)batch, run->shards, shards_name(run),
            (unsigned long long)run->min_shard_images * (unsigned long long)run->shards);
cleanup:
    free(rate);
    sd_network_destroy(&outline);
    return status;
}

static sd_status build_network(sd_run *run) {
    const sd_config *config = run->config;
    const sd_model_spec spec = sd_config_model(config, sd_dataset_samples(run->dataset));
    return sd_config_locate(config, sd_model_create(&spec, run->kernels, sd_run_max_images(run), &run->network));
}

static sd_status build_drop(sd_run *run) {
    const sd_config *config = run->config;
    const int units = sd_network_n_units(run->network);
    run->drop = (sd_drop_spec){.seed = (uint32_t)config->run.seed,
                               .scope = config->stochastic_depth.scope,
                               .scale = config->stochastic_depth.scale,
                               .ranks = sd_comm_size(run->comm),
                               .units = units};
    SD_TRY(sd_alloc(&run->drop.rate, (size_t)units, sizeof *run->drop.rate));
    SD_TRY(sd_config_drop_rates(config, run->network, run->drop.rate));
    SD_TRY(sd_drop_plan_create(units, &run->plan));
    SD_TRY(sd_drop_plan_create(units, &run->evaluation_plan));
    if (run->drop.scope != SD_DROP_SCOPE_GLOBAL)
        SD_TRY(sd_drop_part_create(units, sd_run_max_images(run), &run->part));
    sd_drop_plan_evaluation(&run->drop, &run->evaluation_plan);
    return SD_OK;
}

static sd_status plan_steps(sd_run *run) {
    const sd_config *config = run->config;
    const uint64_t batch = (uint64_t)config->train.batch_size, images = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN);
    run->epoch_plan = sd_epoch_plan_make(images, batch, config->data.last_batch, run->shards, run->min_shard_images);
    if (run->epoch_plan.steps == 0)
        return sd_config_fail(config, "train.batch_size",
                              "%llu is more than the %llu training images; no step is possible",
                              (unsigned long long)batch, (unsigned long long)images);
    if (config->data.last_batch == SD_LAST_BATCH_KEEP && images % batch > 0 && run->epoch_plan.last_images == 0)
        sd_log_warn(
            "data.last_batch = keep, but the last batch of %llu images is dropped: %d %s need at least %llu each",
            (unsigned long long)(images % batch), run->shards, shards_name(run),
            (unsigned long long)run->min_shard_images);
    sd_run_plan_end(run);
    return SD_OK;
}

static sd_status allocate(sd_run *run) {
    const size_t images = (size_t)sd_run_max_images(run);
    const uint64_t score_batches = (uint64_t)sd_dataset_images(run->dataset, SD_SPLIT_TRAIN) / images +
                                   (uint64_t)sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION) / images + 1 +
                                   (uint64_t)run->shards_here;
    const uint64_t shards = (uint64_t)run->shards_here, train_batches = run->epoch_plan.steps * shards;
    const uint64_t ranges = train_batches > score_batches ? train_batches : score_batches;
    SD_TRY(sd_alloc(&run->order, sd_dataset_images(run->dataset, SD_SPLIT_TRAIN), sizeof *run->order));
    SD_TRY(sd_alloc(&run->ranges, ranges, sizeof *run->ranges));
    return sd_alloc(&run->sums, shards * SD_MAX_SUMS, sizeof *run->sums);
}

/* Of what tells one data set from another: each rank reads its own copy of the files. */
static uint64_t hash_data(const sd_dataset *dataset) {
    const uint64_t parts[] = {sd_dataset_hash(dataset), sd_dataset_images(dataset, SD_SPLIT_TRAIN),
                              sd_dataset_images(dataset, SD_SPLIT_VALIDATION),
                              sd_hash(sd_dataset_mean(dataset), SD_CHANNELS * sizeof(float))};
    return sd_hash(parts, sizeof parts);
}

static sd_status open_parts(sd_run *run) {
    const sd_config *config = run->config;
    SD_TRY(check_model(run));
    sd_watch("opening the data", 0);
    const sd_data_spec data = sd_config_data(config);
    SD_TRY(sd_config_locate(config, sd_dataset_open(&data, &run->dataset)));
    sd_watch("setting up the network", 0);
    SD_TRY(build_network(run));
    SD_TRY(sd_loss_create(&(sd_loss_spec){.smoothing = (float)config->train.label_smoothing}, run->kernels,
                          sd_run_max_images(run), sd_network_classes(run->network), &run->loss));
    SD_TRY(build_drop(run));
    SD_TRY(plan_steps(run));
    SD_TRY(allocate(run));
    SD_TRY(sd_run_prepare_trace(run));
    SD_TRY(sd_reducer_create(
        run->comm, run->network,
        &(sd_reducer_spec){.bucket_bytes = (size_t)config->communication.bucket_bytes,
                           .skip_dropped = config->communication.skip_dropped,
                           .shards = run->shards_here,
                           .reproducible = config->communication.reduction == SD_REDUCTION_REPRODUCIBLE,
                           .bf16 = config->communication.wire == SD_WIRE_BF16,
                           .restorable = config->train.on_nonfinite == SD_NONFINITE_SKIP},
        &run->reducer));
    SD_TRY(sd_optimizer_create(&config->optimizer, run->network, &run->optimizer));
    return sd_loader_create(run->dataset, sd_run_max_images(run), (int)config->data.workers, &run->loader);
}

sd_status sd_run_open(sd_run *run, sd_comm *comm, const sd_config *config, const char *isa) {
    *run = (sd_run){.comm = comm, .config = config};
    sd_run_folders(config, run->folder, sizeof run->folder, run->checkpoints, sizeof run->checkpoints);
    sd_console_init(&run->console, stderr, config->log.progress);
    SD_TRY(sd_threads_choose(comm, config, &run->threads));
    sd_kernels_set_threads(run->threads);
    SD_TRY(choose_kernels(run, isa));
    run->shards = config->communication.reduction == SD_REDUCTION_REPRODUCIBLE ? (int)config->communication.shards
                                                                               : sd_comm_size(comm);
    run->shards_here = run->shards / sd_comm_size(comm);
    const sd_status status = open_parts(run);
    sd_watch("waiting for the other ranks to be set up", 0);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_check_same(comm, hash_data(run->dataset), "data set"));
    if (config->communication.progress == SD_COMMUNICATION_THREAD)
        SD_TRY(sd_comm_agree(comm, sd_comm_start_thread(comm)));
    sd_watchdog_reducer(run->reducer);
    sd_network_initialise(run->network, (uint32_t)config->run.seed);
    /* Its log() and cos() may differ in the last bit between processors. */
    SD_TRY(sd_comm_broadcast(comm, sd_network_values(run->network),
                             sd_network_buffer_elems(run->network) * sizeof(float)));
    run->progress = sd_progress_initial();
    run->progress.run_id = sd_run_draw_id();
    run->timed_until = run->step_begin = run->saver.last_seconds = sd_clock_seconds();
    return SD_OK;
}

void sd_run_close(sd_run *run) {
    sd_run_close_saving(run); /* waits for what is being written */
    sd_watchdog_reducer(NULL);
    sd_loader_destroy(&run->loader);
    sd_optimizer_destroy(&run->optimizer);
    sd_reducer_destroy(&run->reducer);
    sd_loss_destroy(&run->loss);
    sd_network_destroy(&run->network);
    sd_dataset_close(&run->dataset);
    sd_drop_plan_free(&run->plan);
    sd_drop_plan_free(&run->evaluation_plan);
    sd_drop_part_free(&run->part);
    sd_trace_free(&run->trace);
    free(run->drop.rate);
    free(run->order);
    free(run->ranges);
    free(run->sums);
    sd_csv_close(&run->steps_csv);
    sd_csv_close(&run->epochs_csv);
    sd_csv_close(&run->timing_csv);
    sd_csv_close(&run->decisions_csv);
}

void sd_run_plan_end(sd_run *run) {
    sd_progress *p = &run->progress;
    if (p->batch > run->epoch_plan.steps) /* on more ranks a short last batch may be none: the epoch is at its end */
        p->batch = run->epoch_plan.steps;
    const uint64_t epochs = (uint64_t)run->config->train.epochs, max_steps = (uint64_t)run->config->train.max_steps;
    const uint64_t left = p->epoch < epochs ? (epochs - p->epoch) * run->epoch_plan.steps - p->batch : 0;
    run->planned_steps = p->step + left;
    run->total_steps = max_steps > 0 && max_steps < run->planned_steps ? max_steps : run->planned_steps;
}

uint64_t sd_run_draw_id(void) {
    uint64_t id = 0;
    if (getrandom(&id, sizeof id, GRND_NONBLOCK) != (ssize_t)sizeof id) { /* not there, or not ready */
        struct timespec now = {0};
        clock_gettime(CLOCK_REALTIME, &now);
        const uint64_t parts[] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, (uint64_t)getpid()};
        id = sd_hash(parts, sizeof parts);
    }
    return id != 0 ? id : 1;
}

bool sd_run_is_finished(const sd_run *run) {
    const sd_progress *p = &run->progress;
    const bool epoch_is_to_end = p->batch == run->epoch_plan.steps;
    return p->epoch >= (uint64_t)run->config->train.epochs || (p->step >= run->total_steps && !epoch_is_to_end);
}

double sd_run_lr(const sd_run *run, uint64_t batch) {
    const uint64_t steps = run->epoch_plan.steps;
    return sd_lr_at(&run->config->lr, (uint64_t)run->config->train.epochs, run->progress.epoch * steps + batch, steps);
}

sd_range sd_run_shard(const sd_run *run, uint64_t images, int shard) {
    return sd_range_share(images, sd_comm_rank(run->comm) * run->shards_here + shard, run->shards);
}

int sd_run_max_images(const sd_run *run) {
    const uint64_t shards = (uint64_t)run->shards, batch = (uint64_t)run->config->train.batch_size;
    const uint64_t all = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN);
    return (int)(((batch < all ? batch : all) + shards - 1) / shards);
}

void sd_run_folders(const sd_config *config, char *folder, size_t folder_bytes, char *checkpoints,
                    size_t checkpoints_bytes) {
    snprintf(folder, folder_bytes, "%s/%s", config->run.output, config->run.name);
    snprintf(checkpoints, checkpoints_bytes, "%s/checkpoints", folder);
}

double sd_run_charge(sd_run *run, sd_phase phase, double begin) {
    double now = sd_clock_seconds();
    run->timing[phase] += now - begin;
    sd_run_trace_phase(run, phase, begin, now);
    return now;
}
