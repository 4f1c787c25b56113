/* SPDX-License-Identifier: Apache-2.0 */
/* A network as a configuration describes it. */
#include "sdtrain/models.h"

sd_model_spec sd_model_spec_of(const sd_config *config, sd_sample_spec samples) {
    return (sd_model_spec){.name = config->model.name,
                           .image_size = samples.image_size,
                           .classes = samples.classes,
                           .stem = (sd_stem_choice)config->model.stem,
                           .convolution = (sd_convolution_choice)config->run.convolution,
                           .patch_size = (int)config->model.patch_size,
                           .dropout = config->model.dropout,
                           .zero_init_residual = config->model.zero_init_residual,
                           .unit = (sd_unit_choice)config->stochastic_depth.unit,
                           .gathers = config->stochastic_depth.scope == SD_DROP_SCOPE_SAMPLE};
}

/* Each unit's rate by the depth of its block. */
sd_status sd_model_drop_rates(const sd_config *config, const sd_network *network, double *rate) {
    const int blocks = sd_network_blocks(network), units = sd_network_n_units(network);
    const sd_drop_schedule schedule = (sd_drop_schedule)config->stochastic_depth.schedule;
    if (schedule == SD_DROP_LIST && config->stochastic_depth.rates.n != blocks)
        return sd_config_fail(config, "stochastic_depth.rates", "%d rates are given, but %s has %d blocks",
                              config->stochastic_depth.rates.n, config->model.name, blocks);
    for (int i = 0; i < units; i++) {
        const int depth = sd_network_unit(network, i)->depth;
        rate[i] = schedule == SD_DROP_LIST ? config->stochastic_depth.rates.value[depth - 1]
                                           : sd_drop_rate(schedule, config->stochastic_depth.rate, depth, blocks);
    }
    return SD_OK;
}
