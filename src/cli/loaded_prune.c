/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a checkpoint when some of its blocks are left out, as a checkpoint of its own. */
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "sdtrain/arena.h"
#include "sdtrain/models.h"
#include "survey.h"

/* ---- its configuration ---- */

/* Each block keeps the drop rate that it had: with scale = inference it is a factor of the evaluation. */
static void describe_rates(const sd_network *network, const unsigned char *keep, const double *rate,
                           sd_config *config) {
    sd_list *rates = &config->stochastic_depth.rates;
    int last = 0;
    rates->n = 0;
    for (int i = 0; i < sd_network_n_units(network); i++) {
        const int depth = sd_network_unit(network, i)->depth;
        if (keep[i] && depth != last)
            rates->value[rates->n++] = rate[i];
        last = depth;
    }
    config->stochastic_depth.schedule = SD_DROP_LIST;
    config->stochastic_depth.rate = 0;
    config->stochastic_depth.survival_prob = 1;
    config->stochastic_depth.min_kept = 0; /* what it makes is in the rates */
}

static sd_status describe_stages(const sd_loaded *l, const unsigned char *keep, sd_config *config) {
    const sd_model_spec spec = sd_config_model(&l->config, l->samples);
    sd_list *layers = &config->model.layers;
    sd_stages stages;
    SD_TRY(sd_model_stages(&spec, &stages));
    const sd_stages kept = sd_model_kept_stages(l->network, &stages, keep);
    layers->n = kept.n;
    for (int s = 0; s < kept.n; s++)
        layers->value[s] = kept.blocks[s];
    return SD_OK;
}

static sd_status describe(const sd_loaded *l, const unsigned char *keep, sd_config *config) {
    double *rate;
    *config = l->config;
    if (sd_network_blocks(l->network) > SD_LIST_MAX)
        return sd_fail(SD_ERR_DATA, "%s: has %d blocks, and a list of rates has at most %d", l->path,
                       sd_network_blocks(l->network), SD_LIST_MAX);
    SD_TRY(describe_stages(l, keep, config));
    SD_TRY(sd_rates_of(l, &rate));
    describe_rates(l->network, keep, rate, config);
    free(rate);
    return SD_OK;
}

/* A network without blocks has no configuration. */
static sd_status check_left(const sd_loaded *l, const char *rule, const unsigned char *keep) {
    int kept = 0;
    for (int i = 0; i < sd_network_n_units(l->network); i++)
        kept += keep[i];
    return kept > 0 ? SD_OK : sd_fail(SD_ERR_USAGE, "'%s': keeps no block, and at least one is expected", rule);
}

/* ---- its tensors ---- */

/* Network and optimizer of the configuration, with what is kept of l's. */
static sd_status build(const sd_loaded *l, const sd_config *config, const unsigned char *keep, sd_network **network,
                       sd_optimizer **optimizer) {
    const sd_model_spec spec = sd_config_model(config, l->samples);
    SD_TRY(sd_model_create(&spec, l->kernels, 1, network));
    SD_TRY(sd_optimizer_create(&config->optimizer, *network, optimizer));
    SD_TRY(sd_model_copy_kept(l->network, keep, sd_network_values(l->network), *network, sd_network_values(*network)));
    for (int s = 0; s < sd_optimizer_n_states(l->optimizer); s++)
        SD_TRY(sd_model_copy_kept(l->network, keep, sd_optimizer_state(l->optimizer, s), *network,
                                  sd_optimizer_state(*optimizer, s)));
    return sd_model_copy_kept_steps(l->network, keep, *network);
}

/* *same: whether model.freeze, whose patterns may have numbers of blocks in them, freezes what it froze before. */
static sd_status compare_frozen(const sd_loaded *l, const sd_config *config, const unsigned char *keep,
                                const sd_network *network, bool *same) {
    const int n = sd_network_n_tensors(l->network);
    bool *before, *after;
    int at = 0;
    SD_TRY(sd_alloc(&before, 2 * (size_t)n, sizeof *before));
    after = before + n;
    *same =
        sd_config_frozen(&l->config, l->network, before) == SD_OK && sd_config_frozen(config, network, after) == SD_OK;
    for (int i = 0; *same && i < n; i++)
        if (sd_model_keeps(l->network, keep, sd_network_tensor(l->network, i)->segment))
            *same = before[i] == after[at++];
    free(before);
    sd_error_clear();
    return SD_OK;
}

static sd_status check_freeze(const sd_loaded *l, sd_config *config, const unsigned char *keep,
                              const sd_network *network) {
    bool same;
    SD_TRY(compare_frozen(l, config, keep, network, &same));
    if (same)
        return SD_OK;
    sd_log_warn("%s: model.freeze = %s would freeze other parameters of what is left, whose blocks have other numbers: "
                "its configuration has none",
                l->path, config->model.freeze);
    config->model.freeze[0] = '\0';
    return SD_OK;
}

sd_status sd_loaded_prune(sd_loaded *l, const char *rule) {
    sd_network *network = NULL;
    sd_optimizer *optimizer = NULL;
    sd_config *config = NULL;
    unsigned char *keep = NULL;
    sd_status status;
    SD_TRY_CLEANUP(sd_alloc(&keep, (size_t)sd_network_n_units(l->network), 1));
    SD_TRY_CLEANUP(sd_model_keep(l->network, rule, l->info.seed, keep));
    SD_TRY_CLEANUP(check_left(l, rule, keep));
    SD_TRY_CLEANUP(sd_alloc(&config, 1, sizeof *config));
    SD_TRY_CLEANUP(describe(l, keep, config));
    SD_TRY_CLEANUP(build(l, config, keep, &network, &optimizer));
    SD_TRY_CLEANUP(check_freeze(l, config, keep, network));
    l->whole = l->network;
    l->network = network;
    sd_optimizer_destroy(&l->optimizer);
    l->optimizer = optimizer;
    l->keep = keep;
    l->config = *config;
    network = NULL;
    optimizer = NULL;
    keep = NULL;
cleanup:
    sd_optimizer_destroy(&optimizer);
    sd_network_destroy(&network);
    free(config);
    free(keep);
    return status;
}
