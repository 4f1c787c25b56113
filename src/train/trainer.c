/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer.h"

#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/models.h"

static sd_status freeze(const sd_config *config, sd_network *network) {
    bool *frozen = NULL;
    SD_TRY(sd_alloc(&frozen, (size_t)sd_network_n_tensors(network), sizeof *frozen));
    const sd_status status = sd_config_frozen(config, network, frozen);
    if (status == SD_OK && config->model.freeze[0])
        sd_network_freeze(network, frozen);
    free(frozen);
    return status;
}

sd_status sd_trainer_check(const sd_session *session, sd_sample_spec samples, uint64_t *min_shard_images) {
    const sd_config *config = session->config;
    const uint64_t batch = (uint64_t)config->train.batch_size;
    const int shards = sd_shards_of(config, sd_comm_size(session->comm));
    sd_network *outline = NULL;
    double *rate = NULL;
    const sd_model_spec spec = sd_config_model(config, samples);
    sd_status status;
    SD_TRY_CLEANUP(sd_config_locate(config, sd_model_outline(&spec, session->kernels, 1, &outline)));
    SD_TRY_CLEANUP(sd_alloc(&rate, (size_t)sd_network_n_units(outline), sizeof *rate));
    SD_TRY_CLEANUP(sd_config_drop_rates(config, outline, rate, NULL));
    SD_TRY_CLEANUP(freeze(config, outline));
    *min_shard_images = sd_network_batchnorm_values(outline) == 1 ? 2 : 1;
    if (batch / (uint64_t)shards < *min_shard_images)
        status = sd_config_fail(
            config, "train.batch_size",
            "%llu images over %d %s leave batch norm one value a channel; at least %llu images are needed",
            (unsigned long long)batch, shards, sd_shards_word(config),
            (unsigned long long)*min_shard_images * (unsigned long long)shards);
cleanup:
    free(rate);
    sd_network_destroy(&outline);
    return status;
}

static sd_status build_network(sd_trainer *trainer, const sd_session *session, const sd_pipeline *pipeline) {
    const sd_config *config = session->config;
    const sd_model_spec spec = sd_config_model(config, sd_dataset_samples(pipeline->dataset));
    SD_TRY(sd_config_locate(config, sd_model_create(&spec, session->kernels, pipeline->max_images, &trainer->network)));
    return freeze(config, trainer->network);
}

static sd_status build_drop(sd_trainer *trainer, const sd_session *session, const sd_pipeline *pipeline) {
    const sd_config *config = session->config;
    const int units = sd_network_n_units(trainer->network);
    trainer->drop = (sd_drop_spec){.seed = (uint32_t)config->run.seed,
                                   .scope = config->stochastic_depth.scope,
                                   .scale = config->stochastic_depth.scale,
                                   .ranks = sd_comm_size(session->comm),
                                   .units = units,
                                   .min_kept = (int)config->stochastic_depth.min_kept};
    SD_TRY(sd_alloc(&trainer->drop.rate, (size_t)units, sizeof *trainer->drop.rate));
    SD_TRY(sd_alloc(&trainer->drop.threshold, (size_t)units, sizeof *trainer->drop.threshold));
    SD_TRY(sd_config_drop_rates(config, trainer->network, trainer->drop.rate, trainer->drop.threshold));
    SD_TRY(sd_drop_plan_create(units, &trainer->plan));
    SD_TRY(sd_drop_plan_create(units, &trainer->evaluation_plan));
    if (trainer->drop.scope != SD_DROP_SCOPE_GLOBAL)
        SD_TRY(sd_drop_part_create(units, pipeline->max_images, &trainer->part));
    sd_drop_plan_evaluation(&trainer->drop, NULL, &trainer->evaluation_plan);
    return SD_OK;
}

static sd_status build_reducer(sd_trainer *trainer, const sd_session *session, const sd_pipeline *pipeline) {
    const sd_config *config = session->config;
    const sd_reducer_spec spec = {.bucket_bytes = (size_t)config->communication.bucket_bytes,
                                  .skip_dropped = config->communication.skip_dropped,
                                  .shards = pipeline->shards_here,
                                  .reproducible = config->communication.reduction == SD_REDUCTION_REPRODUCIBLE,
                                  .bf16 = config->communication.wire == SD_WIRE_BF16,
                                  .restorable = config->train.on_nonfinite == SD_NONFINITE_SKIP};
    return sd_reducer_create(session->comm, trainer->network, &spec, &trainer->reducer);
}

sd_status sd_trainer_open(sd_trainer *trainer, const sd_session *session, const sd_pipeline *pipeline) {
    const sd_config *config = session->config;
    const sd_loss_spec loss = {.smoothing = (float)config->train.label_smoothing};
    *trainer = (sd_trainer){0};
    SD_TRY(build_network(trainer, session, pipeline));
    SD_TRY(sd_loss_create(&loss, session->kernels, pipeline->max_images, sd_network_classes(trainer->network),
                          &trainer->loss));
    SD_TRY(build_drop(trainer, session, pipeline));
    SD_TRY(sd_alloc(&trainer->sums, (size_t)pipeline->shards_here * SD_MAX_SUMS, sizeof *trainer->sums));
    SD_TRY(build_reducer(trainer, session, pipeline));
    return sd_optimizer_create(&config->optimizer, trainer->network, &trainer->optimizer);
}

void sd_trainer_close(sd_trainer *trainer) {
    sd_optimizer_destroy(&trainer->optimizer);
    sd_reducer_destroy(&trainer->reducer);
    sd_loss_destroy(&trainer->loss);
    sd_network_destroy(&trainer->network);
    sd_drop_plan_free(&trainer->plan);
    sd_drop_plan_free(&trainer->evaluation_plan);
    sd_drop_part_free(&trainer->part);
    free(trainer->drop.rate);
    free(trainer->drop.threshold);
    free(trainer->sums);
}

sd_status sd_trainer_initialise(sd_trainer *trainer, const sd_session *session) {
    sd_network *network = trainer->network;
    sd_network_initialise(network, (uint32_t)session->config->run.seed);
    /* Its log() and cos() may differ in the last bit between processors. */
    return sd_comm_broadcast(session->comm, sd_network_values(network),
                             sd_network_buffer_elems(network) * sizeof(float));
}

size_t sd_trainer_state_bytes(const sd_trainer *trainer, int ranks) {
    const size_t states = (size_t)sd_optimizer_n_states(trainer->optimizer);
    const size_t errors = sd_reducer_error(trainer->reducer) ? (size_t)ranks : 0;
    return sd_network_buffer_elems(trainer->network) * sizeof(float) * (1 + states + errors);
}
