#include "sdtrain/train.h"

#include <string.h>

#include "calibrate.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/random.h"

static bool due(int64_t every, uint64_t n) { return every > 0 && n % (uint64_t)every == 0; }

static sd_status check_weights(sd_run *run) {
    sd_watch("comparison of weights", run->progress.step);
    return sd_comm_check_same(
        run->comm, sd_hash(sd_network_values(run->network), sd_network_buffer_elems(run->network) * sizeof(float)),
        "weights");
}

/* The order of the epoch under way, and this rank's shards of its batches from the one after the last done. */
static void begin_epoch(sd_run *run) {
    const sd_progress *p = &run->progress;
    const uint64_t epoch = p->epoch + 1, batches = run->epoch_plan.steps - p->batch;
    sd_random_permutation(run->law.seed, SD_STREAM_ORDER, epoch, run->order, (uint32_t)run->epoch_plan.images);
    sd_range *range = run->ranges;
    for (uint64_t b = 0; b < batches; b++)
        for (int shard = 0; shard < run->shards_here; shard++, range++) {
            *range = sd_run_shard(run, sd_epoch_plan_batch_images(&run->epoch_plan, p->batch + b), shard);
            range->first += (p->batch + b) * run->epoch_plan.batch_size;
        }
    sd_loader_begin(run->loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                                   .augment = (sd_augment)run->config->data.augment,
                                                   .seed = run->law.seed,
                                                   .epoch = epoch,
                                                   .order = run->order,
                                                   .ranges = run->ranges,
                                                   .n_batches = batches * (uint64_t)run->shards_here});
}

/* The rest of the epoch under way. *wish: what a rank asks for after the last step. */
static sd_status train_epoch(sd_run *run, sd_wish *wish) {
    const sd_config *config = run->config;
    const sd_progress *p = &run->progress;
    begin_epoch(run);
    while (p->batch < run->epoch_plan.steps && p->step < run->total_steps && !wish->stop) {
        SD_TRY(sd_run_step(run, wish));
        SD_TRY(sd_run_look_after_saving(run));
        const bool epoch_ends = p->batch == run->epoch_plan.steps;
        if (due(config->communication.check_every, p->step))
            SD_TRY(check_weights(run));
        const bool planned = due(config->checkpoint.every_steps, p->step);
        if ((planned || wish->save) && !epoch_ends && !wish->stop && p->step < run->total_steps)
            SD_TRY(sd_run_save(run, planned));
    }
    sd_loader_end(run->loader);
    return SD_OK;
}

static sd_status train(sd_run *run) {
    const sd_config *config = run->config;
    const sd_progress *p = &run->progress;
    sd_wish wish = {0};
    if (config->communication.check_every > 0)
        SD_TRY(check_weights(run));
    while (!sd_run_is_finished(run) && !wish.stop) {
        SD_TRY(train_epoch(run, &wish));
        /* Asked to stop, before scoring or while it lasts, save at once: the resumed run ends the epoch. */
        const double ended = sd_clock_seconds();
        if (p->batch == run->epoch_plan.steps && !wish.stop)
            SD_TRY(sd_run_end_epoch(run, &wish.stop));
        const bool epoch_ended = p->batch == 0;
        sd_budget_note(&run->budget.epoch_end, ended);
        const bool planned = epoch_ended && (p->step == run->planned_steps ||
                                             due(config->checkpoint.every_epochs, p->epoch) ||
                                             due(config->checkpoint.every_steps, p->step));
        if (planned || wish.stop || wish.save || sd_run_is_finished(run))
            SD_TRY(sd_run_save(run, planned));
    }
    SD_TRY(sd_run_finish_saving(run));
    const bool complete = sd_run_is_finished(run);
    SD_TRY(sd_run_summarise(run, complete ? "complete" : "stopped"));
    if (complete)
        return SD_OK;
    return sd_comm_agree(run->comm, sd_fail(SD_STOPPED,
                                            "stopped %s after step %llu; a checkpoint is written, start it again "
                                            "to go on",
                                            run->budget.spent ? "as its wall-clock budget is spent" : "by a signal",
                                            (unsigned long long)p->step));
}

static sd_status run_with(sd_comm *comm, const sd_config *config, sd_resume *resume, sd_run *run) {
    SD_TRY(sd_run_open(run, comm, config, resume->found ? resume->described.isa : NULL));
    if (resume->found) {
        bool summarised;
        SD_TRY(sd_resume_apply(resume, run, true));
        SD_TRY(sd_resume_settle(run, &summarised));
        sd_run_plan_end(run);
        if (sd_run_is_finished(run)) {
            sd_log_info("already complete: %s is at step %llu of %llu", resume->path,
                        (unsigned long long)run->progress.step, (unsigned long long)run->total_steps);
            return summarised ? SD_OK : sd_run_summarise(run, "complete");
        }
        sd_log_info("going on from %s, step %llu of %llu", resume->path, (unsigned long long)run->progress.step,
                    (unsigned long long)run->total_steps);
    }
    sd_resume_close(resume);
    sd_budget_begin(&run->budget, config, sd_run_state_bytes(run));
    SD_TRY(sd_run_open_logs(run));
    SD_TRY(sd_comm_agree(comm, sd_run_prepare_saving(run)));
    if (run->progress.step == 0)
        sd_log_info("%s: %zu parameters, %d branches; %d rank%s x %d thread%s, %s kernels; files in %s",
                    config->model.name, sd_network_parameters(run->network), run->law.units, sd_comm_size(comm),
                    sd_comm_size(comm) == 1 ? "" : "s", run->threads, run->threads == 1 ? "" : "s", run->kernels->name,
                    run->folder);
    run->timed_until = run->step_begin = sd_clock_seconds();
    run->first_step = run->progress.step + 1;
    return train(run);
}

static sd_status train_locked(sd_comm *comm, const sd_config *config) {
    sd_resume resume;
    sd_run run = {0};
    sd_status status = sd_resume_find(comm, config, &resume);
    if (status == SD_OK)
        status = run_with(comm, config, &resume, &run);
    sd_resume_close(&resume);
    sd_run_close(&run);
    return status;
}

sd_status sd_train(sd_comm *comm, const sd_config *config) {
    sd_lock *lock = NULL;
    sd_status status = sd_watchdog_start(comm, config);
    if (status == SD_OK)
        status = sd_lock_take(comm, config, &lock);
    sd_watchdog_lock(lock);
    if (status == SD_OK)
        status = train_locked(comm, config);
    sd_watchdog_stop();
    sd_lock_release(&lock);
    return status;
}

/* Copies of parameters and optimizer state: as they were, as HDF5 builds the file, and the file. */
enum { CHECKPOINT_COPIES = 3 };

static sd_status print_description(const sd_run *run, size_t program_bytes) {
    const size_t states = (size_t)sd_optimizer_n_states(run->optimizer);
    const size_t buffer_bytes = sd_network_buffer_elems(run->network) * sizeof(float);
    const size_t size = (size_t)sd_dataset_image_size(run->dataset), ranks = (size_t)sd_comm_size(run->comm);
    const sd_description description = {
        .config = run->config,
        .network = run->network,
        .law = &run->law,
        .isa = run->kernels->name,
        .folder = run->folder,
        .ranks = (int)ranks,
        .threads = run->threads,
        .image_size = (int)size,
        .train_images = sd_dataset_images(run->dataset, SD_SPLIT_TRAIN),
        .validation_images = sd_dataset_images(run->dataset, SD_SPLIT_VALIDATION),
        .steps_per_epoch = run->epoch_plan.steps,
        .total_steps = run->total_steps,
        .rank_images = (uint64_t)sd_run_max_images(run) * (uint64_t)run->shards_here,
        .shard_images = (uint64_t)sd_run_max_images(run),
        .state_bytes = buffer_bytes * (2 + states) + sd_reducer_bytes(run->reducer),
        .activation_bytes = sd_network_activation_bytes(run->network),
        .data_bytes = sd_dataset_bytes(run->dataset) + (size_t)sd_run_max_images(run) * size * size * SD_CHANNELS *
                                                           sizeof(float) * ((size_t)run->config->data.workers + 1),
        .program_bytes = program_bytes,
        .checkpoint_bytes = CHECKPOINT_COPIES * sd_run_state_bytes(run),
    };
    return sd_description_print(&description);
}

sd_status sd_train_check(sd_comm *comm, const sd_config *config, const sd_forecast *forecast) {
    const size_t program_bytes = sd_resident_bytes();
    sd_run run = {0};
    sd_status status = sd_watchdog_start(comm, config);
    if (status == SD_OK)
        status = sd_run_open(&run, comm, config, NULL);
    if (status == SD_OK)
        status = sd_comm_agree(comm, sd_comm_rank(comm) == 0 ? print_description(&run, program_bytes) : SD_OK);
    if (status == SD_OK && forecast->n > 0)
        status = sd_run_predict(&run, forecast);
    sd_run_close(&run);
    sd_watchdog_stop();
    return status;
}

/* The configuration asked for, with the checkpoint's stochastic depth: weights belong to their scale and rates. */
static sd_status adopt_drop(sd_comm *comm, const sd_resume *resume, sd_config *config) {
    static sd_config stored; /* large */
    sd_status status = SD_OK;
    sd_config_init(&stored);
    if (sd_comm_rank(comm) == 0)
        status = sd_config_parse(&stored, resume->described.config, resume->path);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &stored.stochastic_depth, sizeof stored.stochastic_depth));
    config->stochastic_depth = stored.stochastic_depth;
    return SD_OK;
}

static sd_status evaluate(sd_comm *comm, const sd_config *asked, sd_resume *resume, sd_run *run) {
    static sd_config config; /* large */
    sd_score score;
    config = *asked;
    config.run.seed = resume->described.seed; /* which images are held out */
    SD_TRY(adopt_drop(comm, resume, &config));
    SD_TRY(sd_run_open(run, comm, &config, NULL));
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
    sd_status status = sd_watchdog_start(comm, config);
    if (status == SD_OK)
        status = sd_resume_open(comm, checkpoint, &resume);
    if (status == SD_OK)
        status = evaluate(comm, config, &resume, &run);
    sd_resume_close(&resume);
    sd_run_close(&run);
    sd_watchdog_stop();
    return status;
}
