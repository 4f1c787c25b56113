/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a checkpoint when some of its blocks are left out, as a checkpoint of its own. */
#include <stdlib.h>

#include "loaded.h"
#include "sdtrain/arena.h"
#include "sdtrain/models.h"
#include "survey.h"

/* The configuration of the blocks that are kept: each has the drop rate that it had, so that a scale is the same. */
static void describe_kept(const sd_network *network, const unsigned char *keep, const double *rate, sd_config *config) {
    sd_list *rates = &config->stochastic_depth.rates;
    int last = 0;
    rates->n = 0;
    for (int i = 0; i < sd_network_n_units(network); i++) {
        const int depth = sd_network_unit(network, i)->depth;
        if (keep[i] && depth != last)
            rates->value[rates->n++] = rate[i];
        last = keep[i] ? depth : last;
    }
    config->model.layers = rates->n;
    config->stochastic_depth.schedule = SD_DROP_LIST;
    config->stochastic_depth.rate = 0;
    config->stochastic_depth.survival_prob = 1;
    config->stochastic_depth.min_kept = 0; /* what it makes is in the rates */
}

static sd_status check_family(const sd_loaded *l, const unsigned char *keep) {
    int kept = 0;
    for (int i = 0; i < sd_network_n_units(l->network); i++)
        kept += keep[i];
    if (sd_model_removable_blocks(l->network) < sd_network_blocks(l->network))
        return sd_fail(
            SD_ERR_CONFIG,
            "%s: a %s cannot be pruned: no configuration says which blocks of its stages are left (ViT and BERT "
            "can); sdtrain-mpi --evaluate FILE --keep RULE leaves them out",
            l->path, l->config.model.name);
    if (kept == 0)
        return sd_fail(SD_ERR_CONFIG, "%s: a network of no blocks is no configuration; keep one", l->path);
    return SD_OK;
}

/* Network and optimizer of the configuration, with what is kept of l's. */
static sd_status build_kept(const sd_loaded *l, const sd_config *config, const unsigned char *keep,
                            sd_network **network, sd_optimizer **optimizer) {
    const sd_model_spec spec = sd_config_model(config, l->samples);
    SD_TRY(sd_model_create(&spec, l->kernels, 1, network));
    SD_TRY(sd_optimizer_create(&config->optimizer, *network, optimizer));
    SD_TRY(sd_model_copy_kept(l->network, keep, sd_network_values(l->network), *network, sd_network_values(*network)));
    for (int s = 0; s < sd_optimizer_n_states(l->optimizer); s++)
        SD_TRY(sd_model_copy_kept(l->network, keep, sd_optimizer_state(l->optimizer, s), *network,
                                  sd_optimizer_state(*optimizer, s)));
    return sd_model_copy_kept_steps(l->network, keep, *network);
}

sd_status sd_loaded_prune(sd_loaded *l, const char *rule) {
    sd_network *network = NULL;
    sd_optimizer *optimizer = NULL;
    sd_config *config = NULL;
    unsigned char *keep = NULL;
    double *rate = NULL;
    sd_status status;
    SD_TRY_CLEANUP(sd_alloc(&keep, (size_t)sd_network_n_units(l->network) + 1, 1));
    SD_TRY_CLEANUP(sd_model_keep(l->network, rule, l->info.seed, keep));
    SD_TRY_CLEANUP(check_family(l, keep));
    SD_TRY_CLEANUP(sd_rates_of(l, &rate));
    SD_TRY_CLEANUP(sd_alloc(&config, 1, sizeof *config));
    *config = l->config;
    describe_kept(l->network, keep, rate, config);
    SD_TRY_CLEANUP(build_kept(l, config, keep, &network, &optimizer));
    sd_optimizer_destroy(&l->optimizer);
    sd_network_destroy(&l->network);
    l->network = network;
    l->optimizer = optimizer;
    l->config = *config;
    network = NULL;
    optimizer = NULL;
cleanup:
    sd_optimizer_destroy(&optimizer);
    sd_network_destroy(&network);
    free(config);
    free(keep);
    free(rate);
    return status;
}
