/* SPDX-License-Identifier: Apache-2.0 */
/* --check --ranks: what this machine measures, put on the cluster that is asked about. */
#include <stdio.h>

#include "predict.h"
#include "sdtrain/predict.h"

/* Of an Ethernet frame's 1538 bytes (preamble, gap and headers of Ethernet, IP and TCP among them) these are data. */
static const double PAYLOAD = 1448.0 / 1538.0;

/* Allowed to rank 0 for its tables, for which the others wait: with stochastic_depth.scope = rank and 4096 ranks it
 * draws millions of plans. */
enum { PREDICTION_SECONDS = 3600 };

/* A sd_calibration_spec.beat: the run is not at a step. */
static void beat(const char *doing, double allowed_seconds) { sd_watch_slow(doing, 0, allowed_seconds); }

/* The first training images, as many as a pass takes, on every rank: the one batch of a pass, which is ready when this
 * returns. Valid until the loader's pass ends. */
static sd_status first_images(const sd_run *run, sd_batch *batch) {
    const sd_config *config = run->session.config;
    const sd_range range = {0, (uint64_t)run->pipeline.max_images};
    sd_loader_begin(run->pipeline.loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                                            .augment = config->data.augment,
                                                            .seed = (uint32_t)config->run.seed,
                                                            .epoch = 1,
                                                            .ranges = &range,
                                                            .n_batches = 1});
    return sd_comm_agree(run->session.comm, sd_loader_next(run->pipeline.loader, batch));
}

static sd_status predict(sd_run *run, const sd_forecast *forecast, const sd_batch *images) {
    const sd_session *session = &run->session;
    sd_pipeline *pipeline = &run->pipeline;
    const sd_trainer *trainer = &run->trainer;
    const sd_config *config = session->config;
    const bool reproducible = config->communication.reduction == SD_REDUCTION_REPRODUCIBLE;
    const bool bf16 = config->communication.wire == SD_WIRE_BF16;
    sd_calibration calibration;
    const sd_calibration_spec spec = {
        .comm = session->comm,
        .network = trainer->network,
        .optimizer = trainer->optimizer,
        .loss = trainer->loss,
        .min_images = (int)pipeline->min_shard_images,
        .max_images = pipeline->max_images,
        .input = &images->input,
        .labels = images->targets.labels,
        .touched_rows = config->communication.skip_dropped ? sd_pipeline_mean_rows(pipeline, trainer->drop.seed) : 0,
        .seed = trainer->drop.seed,
        .threads = session->threads,
        .bf16 = bf16,
        .beat = beat};
    const sd_cluster cluster = {.link_bytes_per_s = forecast->link_gbit * 1e9 / 8 * PAYLOAD,
                                .latency_seconds = forecast->latency_us * 1e-6,
                                .bucket_bytes = (size_t)config->communication.bucket_bytes,
                                .skip_dropped = config->communication.skip_dropped,
                                .overlap = true,
                                .reproducible = reproducible,
                                .bf16 = bf16,
                                .shards = reproducible ? pipeline->shards : 0};
    const sd_prediction prediction = {.calibration = &calibration,
                                      .cluster = &cluster,
                                      .drop = &trainer->drop,
                                      .link_gbit = forecast->link_gbit,
                                      .latency_us = forecast->latency_us,
                                      .n_ranks = forecast->n,
                                      .ranks = forecast->ranks,
                                      .batch_images = (uint64_t)config->train.batch_size,
                                      .rank_images = (uint64_t)(pipeline->max_images * pipeline->shards_here),
                                      .min_shard_images = pipeline->min_shard_images,
                                      .train_images = sd_dataset_images(pipeline->dataset, SD_SPLIT_TRAIN)};
    sd_status status = sd_calibrate(&spec, &calibration);
    sd_watch_slow("predicting", 0, PREDICTION_SECONDS);
    if (status == SD_OK && sd_session_is_root(session))
        status = sd_prediction_print(stdout, &prediction);
    sd_calibration_free(&calibration);
    return sd_comm_agree(session->comm, status);
}

sd_status sd_run_predict(sd_run *run, const sd_forecast *forecast) {
    sd_batch images;
    SD_TRY(first_images(run, &images));
    const sd_status status = predict(run, forecast, &images);
    sd_loader_end(run->pipeline.loader);
    return status;
}
