/* SPDX-License-Identifier: Apache-2.0 */
/* --check: everything that a start looks at before it trains, and what the run will be like. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"
#include "predict.h"
#include "resume.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/bucket.h"
#include "sdtrain/description.h"
#include "sdtrain/train.h"

/* Copies of parameters and optimizer state: as they were, as HDF5 builds the file, and the file. */
enum { CHECKPOINT_COPIES = 3 };

static sd_status print_description(sd_run *run, const char *start, size_t program_bytes) {
    const sd_session *session = &run->session;
    sd_pipeline *pipeline = &run->pipeline;
    const sd_config *config = session->config;
    const double touched_rows =
        config->communication.skip_dropped ? sd_pipeline_mean_rows(pipeline, (uint32_t)config->run.seed) : 0;
    const sd_trainer *trainer = &run->trainer;
    const size_t states = (size_t)sd_optimizer_n_states(trainer->optimizer);
    const size_t buffer_bytes = sd_network_buffer_elems(trainer->network) * sizeof(float);
    const sd_sample_spec samples = sd_dataset_samples(pipeline->dataset);
    const size_t batch_elems = (size_t)pipeline->max_images * sd_sample_elems(samples);
    const sd_description description = {
        .model = config->model.name,
        .resume = config->checkpoint.resume,
        .epochs = (uint64_t)config->train.epochs,
        .batch_size = (uint64_t)config->train.batch_size,
        .shards = config->communication.reduction == SD_REDUCTION_REPRODUCIBLE ? pipeline->shards : 0,
        .skip_dropped = config->communication.skip_dropped,
        .wire_value_bytes = sd_wire_value_bytes(config->communication.wire == SD_WIRE_BF16),
        .network = trainer->network,
        .drop = &trainer->drop,
        .isa = session->kernels->name,
        .folder = session->folders.run,
        .start = start,
        .ranks = sd_comm_size(session->comm),
        .threads = session->threads,
        .samples = samples,
        .lengths = sd_samples_are_texts(samples) ? sd_dataset_text_lengths(pipeline->dataset) : (sd_text_lengths){0},
        .touched_rows = touched_rows,
        .train_images = sd_dataset_images(pipeline->dataset, SD_SPLIT_TRAIN),
        .validation_images = sd_dataset_images(pipeline->dataset, SD_SPLIT_VALIDATION),
        .steps_per_epoch = pipeline->epoch_plan.steps,
        .total_steps = run->horizon.total_steps,
        .rank_images = (uint64_t)pipeline->max_images * (uint64_t)pipeline->shards_here,
        .shard_images = (uint64_t)pipeline->max_images,
        .state_bytes = buffer_bytes * (2 + states) + sd_reducer_bytes(trainer->reducer),
        .activation_bytes = sd_network_activation_bytes(trainer->network),
        .data_bytes =
            sd_dataset_bytes(pipeline->dataset) + batch_elems * sizeof(float) * ((size_t)config->data.workers + 1),
        .program_bytes = program_bytes,
        .checkpoint_bytes = CHECKPOINT_COPIES * sd_trainer_state_bytes(trainer, sd_comm_size(session->comm)),
    };
    return sd_description_print(stdout, &description);
}

/* Whether files can be made in the run's folder, or the folder in the nearest one above that is there. Writes
 * nothing. */
static sd_status check_output(const sd_folders *folders) {
    char folder[SD_FOLDER_BYTES + 16];
    struct stat info;
    snprintf(folder, sizeof folder, "%s", folders->checkpoints);
    while (stat(folder, &info) != 0) {
        char *slash = strrchr(folder, '/');
        if (errno != ENOENT)
            return sd_fail(SD_ERR_IO, "%s: the run's files cannot go there: %s (run.output)", folder, strerror(errno));
        if (!slash)
            snprintf(folder, sizeof folder, ".");
        else
            slash[slash == folder] = '\0';
    }
    if (!S_ISDIR(info.st_mode))
        return sd_fail(SD_ERR_IO, "%s: is not a folder, and the run's files go to %s (run.output)", folder,
                       folders->run);
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be written to: %s, and the run's files go to %s (run.output)", folder,
                       strerror(errno), folders->run);
    return SD_OK;
}

/* Where training would begin, in words. Collective. */
static sd_status find_start(sd_run *run, const sd_resume *resume, sd_config *config, char *text, size_t text_bytes) {
    if (!resume->found) {
        char init[SD_INIT_BYTES];
        SD_TRY(sd_init_adopt(run, config, init));
        snprintf(text, text_bytes, "from the beginning%s%s", init[0] ? ", with model.init: " : "", init);
        return SD_OK;
    }
    SD_TRY(sd_resume_check_data(resume, &run->session, run->pipeline.dataset));
    run->progress = resume->info.progress;
    sd_run_plan_end(run);
    snprintf(text, text_bytes, "%s %s, step %llu of %llu", sd_run_is_finished(run) ? "already complete:" : "from",
             resume->path, (unsigned long long)run->progress.step, (unsigned long long)run->horizon.total_steps);
    return SD_OK;
}

static sd_status check(sd_run *run, const sd_resume *resume, sd_config *config, size_t program_bytes) {
    const bool root = sd_session_is_root(&run->session);
    char start[SD_PATH_BYTES + SD_INIT_BYTES];
    SD_TRY(find_start(run, resume, config, start, sizeof start));
    if (!resume->found || !sd_run_is_finished(run)) /* a complete run writes nothing */
        SD_TRY(sd_comm_agree(run->session.comm, root ? check_output(&run->session.folders) : SD_OK));
    return sd_comm_agree(run->session.comm, root ? print_description(run, start, program_bytes) : SD_OK);
}

sd_status sd_train_check(sd_comm *comm, const sd_config *asked, const char *job, const sd_forecast *forecast) {
    const size_t program_bytes = sd_resident_bytes();
    sd_run run = {0};
    sd_resume resume = {0};
    sd_config *config = NULL; /* what run points to */
    sd_status status = sd_watchdog_start(comm, (double)asked->run.stall_seconds);
    if (status == SD_OK)
        status = sd_comm_agree(comm, sd_alloc(&config, 1, sizeof *config));
    if (status == SD_OK)
        status = sd_resume_find(comm, asked, job, &resume);
    if (status == SD_OK) {
        *config = *asked;
        sd_init_keep(&resume, config);
    }
    if (status == SD_OK)
        status = sd_run_open(&run, comm, config, job, resume.found ? resume.info.isa : NULL);
    if (status == SD_OK)
        status = check(&run, &resume, config, program_bytes);
    if (status == SD_OK && forecast->n > 0)
        status = sd_run_predict(&run, forecast);
    sd_resume_close(&resume);
    sd_run_close(&run);
    sd_watchdog_stop();
    free(config);
    return status;
}
