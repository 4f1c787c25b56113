/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/hash.h"
#include "sdtrain/random.h"

int sd_shards_of(const sd_config *config, int ranks) {
    return config->communication.reduction == SD_REDUCTION_REPRODUCIBLE ? (int)config->communication.shards : ranks;
}

const char *sd_shards_word(const sd_config *config) {
    return config->communication.reduction == SD_REDUCTION_REPRODUCIBLE ? "shards" : "ranks";
}

/* What rank 0 has found to the others, whose *found is NULL. */
static sd_status broadcast_found(sd_comm *comm, sd_found **found) {
    const bool root = sd_comm_rank(comm) == 0;
    const void *packed = NULL;
    void *bytes = NULL;
    size_t n_bytes = 0;
    if (root && *found)
        sd_found_bytes(*found, &packed, &n_bytes);
    SD_TRY(sd_comm_broadcast(comm, &n_bytes, sizeof n_bytes));
    if (n_bytes == 0)
        return SD_OK;
    SD_TRY(sd_comm_agree(comm, root ? SD_OK : sd_alloc(&bytes, n_bytes, 1)));
    sd_status status = sd_comm_broadcast(comm, root ? (void *)packed : bytes, n_bytes);
    if (!root && status == SD_OK)
        status = sd_found_of_bytes(bytes, n_bytes, found);
    if (!root && !*found)
        free(bytes);
    return sd_comm_agree(comm, status);
}

sd_status sd_pipeline_find(sd_pipeline *pipeline, const sd_session *session) {
    const sd_config *config = session->config;
    sd_comm *comm = session->comm;
    *pipeline = (sd_pipeline){.spec = sd_config_data(config)};
    const sd_status status =
        sd_session_is_root(session) ? sd_config_locate(config, sd_data_find(&pipeline->spec, &pipeline->found)) : SD_OK;
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(broadcast_found(comm, &pipeline->found));
    pipeline->spec.found = pipeline->found;
    return SD_OK;
}

static sd_status plan_epochs(sd_pipeline *pipeline, const sd_config *config) {
    const uint64_t batch = (uint64_t)config->train.batch_size,
                   images = sd_dataset_images(pipeline->dataset, SD_SPLIT_TRAIN), shards = (uint64_t)pipeline->shards;
    pipeline->max_images = (int)(((batch < images ? batch : images) + shards - 1) / shards);
    pipeline->epoch_plan =
        sd_epoch_plan_make(images, batch, config->data.last_batch, pipeline->shards, pipeline->min_shard_images);
    if (pipeline->epoch_plan.steps == 0)
        return sd_config_fail(config, "train.batch_size",
                              "%llu is more than the %llu training images; no step is possible",
                              (unsigned long long)batch, (unsigned long long)images);
    if (config->data.last_batch == SD_LAST_BATCH_KEEP && images % batch > 0 && pipeline->epoch_plan.last_images == 0)
        sd_log_warn(
            "data.last_batch = keep, but the last batch of %llu images is dropped: %d %s need at least %llu each",
            (unsigned long long)(images % batch), pipeline->shards, sd_shards_word(config),
            (unsigned long long)pipeline->min_shard_images);
    return SD_OK;
}

/* Ranges for an epoch, or for scoring all of both splits. */
static sd_status allocate(sd_pipeline *pipeline) {
    const uint64_t train = sd_dataset_images(pipeline->dataset, SD_SPLIT_TRAIN),
                   validation = sd_dataset_images(pipeline->dataset, SD_SPLIT_VALIDATION);
    const uint64_t at_once = (uint64_t)pipeline->max_images, shards = (uint64_t)pipeline->shards_here;
    const uint64_t of_epoch = pipeline->epoch_plan.steps * shards,
                   of_scoring = train / at_once + validation / at_once + 1 + shards;
    SD_TRY(sd_touched_open(&pipeline->touched, sd_dataset_samples(pipeline->dataset)));
    SD_TRY(sd_alloc(&pipeline->order, train, sizeof *pipeline->order));
    return sd_alloc(&pipeline->ranges, of_epoch > of_scoring ? of_epoch : of_scoring, sizeof *pipeline->ranges);
}

sd_status sd_pipeline_open(sd_pipeline *pipeline, const sd_session *session, uint64_t min_shard_images) {
    const sd_config *config = session->config;
    const int ranks = sd_comm_size(session->comm);
    pipeline->shards = sd_shards_of(config, ranks);
    pipeline->min_shard_images = min_shard_images;
    pipeline->shards_here = pipeline->shards / ranks;
    pipeline->first_shard = sd_comm_rank(session->comm) * pipeline->shards_here;
    SD_TRY(sd_config_locate(config, sd_dataset_open(&pipeline->spec, &pipeline->dataset)));
    SD_TRY(plan_epochs(pipeline, config));
    SD_TRY(allocate(pipeline));
    return sd_loader_create(pipeline->dataset, pipeline->max_images, (int)config->data.workers, &pipeline->loader);
}

void sd_pipeline_close(sd_pipeline *pipeline) {
    sd_loader_destroy(&pipeline->loader);
    sd_dataset_close(&pipeline->dataset);
    sd_found_free(&pipeline->found);
    sd_touched_close(&pipeline->touched);
    free(pipeline->order);
    free(pipeline->ranges);
}

uint64_t sd_pipeline_hash(const sd_pipeline *pipeline) {
    const sd_dataset *dataset = pipeline->dataset;
    const uint64_t parts[] = {sd_dataset_hash(dataset), sd_dataset_images(dataset, SD_SPLIT_TRAIN),
                              sd_dataset_images(dataset, SD_SPLIT_VALIDATION),
                              sd_hash(sd_dataset_mean(dataset), SD_CHANNELS * sizeof(float))};
    return sd_hash(parts, sizeof parts);
}

sd_status sd_pipeline_class_names(const sd_pipeline *pipeline, char **names) {
    const int classes = sd_dataset_samples(pipeline->dataset).classes;
    size_t bytes = 1;
    *names = NULL;
    if (!sd_dataset_class(pipeline->dataset, 0)[0])
        return SD_OK;
    for (int label = 0; label < classes; label++)
        bytes += strlen(sd_dataset_class(pipeline->dataset, label)) + 1;
    SD_TRY(sd_alloc(names, bytes, 1));
    char *to = *names;
    for (int label = 0; label < classes; label++) {
        for (const char *from = sd_dataset_class(pipeline->dataset, label); *from; from++)
            *to++ = *from == '\n' ? '?' : *from; /* a line is a name */
        *to++ = '\n';
    }
    return SD_OK;
}

sd_status sd_pipeline_vocab(const sd_pipeline *pipeline, char **vocab) {
    size_t bytes;
    bool lower_case;
    const char *text = sd_dataset_vocabulary(pipeline->dataset, &bytes, &lower_case);
    *vocab = NULL;
    if (!text)
        return SD_OK;
    SD_TRY(sd_alloc(vocab, bytes + 1, 1));
    memcpy(*vocab, text, bytes);
    return SD_OK;
}

sd_range sd_pipeline_shard(const sd_pipeline *pipeline, uint64_t images, int shard) {
    return sd_range_share(images, pipeline->first_shard + shard, pipeline->shards);
}

void sd_pipeline_begin_epoch(sd_pipeline *pipeline, sd_augment augment, uint32_t seed, uint64_t epoch, uint64_t batch) {
    const sd_epoch_plan *plan = &pipeline->epoch_plan;
    uint64_t n = 0;
    sd_random_permutation(seed, SD_STREAM_ORDER, epoch, pipeline->order, (uint32_t)plan->images);
    for (uint64_t b = batch; b < plan->steps; b++)
        for (int shard = 0; shard < pipeline->shards_here; shard++) {
            const sd_range share = sd_pipeline_shard(pipeline, sd_epoch_plan_batch_images(plan, b), shard);
            pipeline->ranges[n++] = (sd_range){b * plan->batch_size + share.first, share.count};
        }
    sd_loader_begin(pipeline->loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                                        .augment = augment,
                                                        .seed = seed,
                                                        .epoch = epoch,
                                                        .order = pipeline->order,
                                                        .ranges = pipeline->ranges,
                                                        .n_batches = n});
}

const sd_row_set *sd_pipeline_rows(sd_pipeline *pipeline, uint64_t batch) {
    const sd_epoch_plan *plan = &pipeline->epoch_plan;
    return sd_touched_by(&pipeline->touched, pipeline->dataset, pipeline->order + batch * plan->batch_size,
                         sd_epoch_plan_batch_images(plan, batch));
}

double sd_pipeline_mean_rows(sd_pipeline *pipeline, uint32_t seed) {
    enum { MOST_BATCHES = 100 };
    const sd_epoch_plan *plan = &pipeline->epoch_plan;
    const uint64_t batches = plan->steps < MOST_BATCHES ? plan->steps : MOST_BATCHES;
    double rows = 0;
    sd_random_permutation(seed, SD_STREAM_ORDER, 1, pipeline->order, (uint32_t)plan->images);
    for (uint64_t b = 0; b < batches && pipeline->touched.vocabulary > 0; b++)
        rows += (double)sd_pipeline_rows(pipeline, b)->n / (double)batches;
    return rows;
}

void sd_pipeline_begin_scoring(sd_pipeline *pipeline, sd_split split, uint64_t n) {
    const uint64_t at_once = (uint64_t)pipeline->max_images;
    uint64_t passes = 0;
    for (int shard = 0; shard < pipeline->shards_here; shard++) {
        const sd_range share = sd_pipeline_shard(pipeline, n, shard);
        for (uint64_t done = 0; done < share.count; done += at_once) {
            const uint64_t rest = share.count - done;
            pipeline->ranges[passes++] = (sd_range){share.first + done, rest < at_once ? rest : at_once};
        }
    }
    sd_loader_begin(
        pipeline->loader,
        &(sd_loader_pass){.split = split, .ranges = pipeline->ranges, .n_batches = passes, .scoring = true});
}
