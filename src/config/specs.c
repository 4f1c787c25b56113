/* SPDX-License-Identifier: Apache-2.0 */
/* The specs of other rooms, from a configuration. */
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/config.h"

sd_data_spec sd_config_data(const sd_config *config) {
    return (sd_data_spec){.kind = config->data.dataset,
                          .path = config->data.path,
                          .image_size = config->data.image_size,
                          .classes = config->model.classes,
                          .train_samples = config->data.train_samples,
                          .val_samples = config->data.val_samples,
                          .validation = config->data.validation,
                          .scored_samples = config->eval.train_samples,
                          .seed = (uint32_t)config->run.seed,
                          .interpolation = config->data.interpolation,
                          .crop_pct = config->data.crop_pct,
                          .normalise = config->data.normalise,
                          .on_bad_image = config->data.on_bad_image,
                          .objective = config->train.objective,
                          .vocab = config->data.vocab,
                          .lower_case = config->data.lower_case,
                          .sequence = config->data.sequence,
                          .text_columns = config->data.text_columns,
                          .label_column = config->data.label_column};
}

/* Of more numbers than any model has stages, which none accepts, the first. */
static sd_stages stages_of(const sd_list *layers) {
    sd_stages stages = {.n = layers->n};
    for (int s = 0; s < layers->n && s < SD_MAX_STAGES; s++)
        stages.blocks[s] = (int)layers->value[s];
    return stages;
}

sd_model_spec sd_config_model(const sd_config *config, sd_sample_spec samples) {
    return (sd_model_spec){.name = config->model.name,
                           .image_size = samples.image_size,
                           .sequence = samples.sequence,
                           .vocabulary = samples.vocabulary,
                           .classes = samples.classes,
                           .stages = stages_of(&config->model.layers),
                           .objective = config->train.objective,
                           .stem = config->model.stem,
                           .convolution = config->run.convolution,
                           .patch_size = (int)config->model.patch_size,
                           .dropout = config->model.dropout,
                           .hidden_dropout = config->model.hidden_dropout,
                           .attention_dropout = config->model.attention_dropout,
                           .zero_init_residual = config->model.zero_init_residual,
                           .unit = config->stochastic_depth.unit,
                           .gathers = config->stochastic_depth.scope == SD_DROP_SCOPE_SAMPLE};
}

/* Without a condition on whole plans. */
static sd_status scheduled_rates(const sd_config *config, const sd_network *network, double *rate) {
    const int blocks = sd_network_blocks(network), units = sd_network_n_units(network);
    const sd_drop_schedule schedule = config->stochastic_depth.schedule;
    const sd_list *rates = &config->stochastic_depth.rates;
    if (schedule == SD_DROP_LIST && rates->n != blocks)
        return sd_config_fail(config, "stochastic_depth.rates", "%d rates are given, but %s has %d blocks", rates->n,
                              config->model.name, blocks);
    for (int i = 0; i < units; i++) {
        const int depth = sd_network_unit(network, i)->depth;
        rate[i] = schedule == SD_DROP_LIST ? rates->value[depth - 1]
                                           : sd_drop_rate(schedule, config->stochastic_depth.rate, depth, blocks);
    }
    return SD_OK;
}

/* Where the sum is normalised, a factor of F changes the direction of the result, not its expectation alone; and a
 * dropped layer is its input, whatever its factor. */
static sd_status check_post_norm(const sd_config *config, const sd_network *network, const double *rate) {
    if (config->stochastic_depth.scale == SD_DROP_SCALE_NONE)
        return SD_OK;
    for (int i = 0; i < sd_network_n_units(network); i++)
        if (rate[i] > 0 && sd_network_unit(network, i)->post_norm)
            return sd_config_fail(
                config, "stochastic_depth.scale",
                "%s, but %s normalises the sum of a layer's input and its branch (post-norm), so that "
                "no factor makes training and evaluation alike; use none (LayerDrop)",
                sd_drop_scale_word(config->stochastic_depth.scale), config->model.name);
    return SD_OK;
}

static sd_status conditioned_rates(const sd_config *config, int units, const double *threshold, double *rate) {
    const int min_kept = (int)config->stochastic_depth.min_kept;
    const double enough = sd_drop_condition(units, min_kept, threshold, rate);
    if (min_kept > units)
        return sd_config_fail(config, "stochastic_depth.min_kept", "%d of %d decision units cannot be kept", min_kept,
                              units);
    if (enough < SD_DROP_RAREST)
        return sd_config_fail(
            config, "stochastic_depth.min_kept",
            "at these rates a plan keeps %d of %d decision units with probability %.3g; as plans are drawn until one "
            "does, %g is the least; lower the rates, or min_kept",
            min_kept, units, enough, SD_DROP_RAREST);
    return SD_OK;
}

sd_status sd_config_drop_rates(const sd_config *config, const sd_network *network, double *rate, double *threshold) {
    const int units = sd_network_n_units(network);
    double *drawn = threshold;
    if (!threshold)
        SD_TRY(sd_alloc(&drawn, (size_t)units, sizeof *drawn));
    sd_status status = scheduled_rates(config, network, drawn);
    if (status == SD_OK)
        status = check_post_norm(config, network, drawn);
    if (status == SD_OK)
        status = conditioned_rates(config, units, drawn, rate);
    if (!threshold)
        free(drawn);
    return status;
}
