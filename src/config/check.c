/* What single keys cannot tell: contradictions between them, and advice. */
#include <stdlib.h>
#include <string.h>

#include "keys.h"

static bool given(const sd_config *config, const char *section, const char *name) {
    return config->line[sd_key_find(section, name) - sd_keys] != 0;
}

/* An empty run.name becomes the file's name without folder and ".ini". */
static void name_run(sd_config *config) {
    if (config->run.name[0])
        return;
    const char *slash = strrchr(config->file, '/');
    snprintf(config->run.name, sizeof config->run.name, "%.*s", SD_CONFIG_TEXT - 1, slash ? slash + 1 : config->file);
    char *dot = strrchr(config->run.name, '.');
    if (dot && dot > config->run.name)
        *dot = '\0';
}

static sd_status check_drop(sd_config *config) {
    const char *rate_key = "stochastic_depth.rate";
    bool rate_given = given(config, "stochastic_depth", "rate");
    bool is_list = config->stochastic_depth.schedule == SD_DROP_LIST;
    if (given(config, "stochastic_depth", "survival_prob")) {
        if (rate_given)
            return sd_config_fail(config, rate_key, "rate and survival_prob say the same thing; give one of them");
        char decimal[32]; /* 1 - 0.8 shall be 0.2, the number that would have been written */
        snprintf(decimal, sizeof decimal, "%.15g", 1 - config->stochastic_depth.survival_prob);
        config->stochastic_depth.rate = strtod(decimal, NULL);
        rate_given = true;
    }
    if (is_list && config->stochastic_depth.rates.n == 0)
        return sd_config_fail(config, "stochastic_depth.schedule",
                              "list needs stochastic_depth.rates, one rate a block");
    if (!is_list && config->stochastic_depth.rates.n > 0)
        return sd_config_fail(config, "stochastic_depth.rates", "rates are used with schedule = list only");
    if (is_list && rate_given && config->stochastic_depth.rate != 0)
        return sd_config_fail(config, rate_key, "with schedule = list the rates are given one by one; remove rate");
    if (config->stochastic_depth.rank_divisor == SD_RANK_DIVISOR_KEPT &&
        config->stochastic_depth.scope != SD_DROP_SCOPE_RANK)
        return sd_config_fail(
            config, "stochastic_depth.rank_divisor",
            "kept is for scope = rank: with the others there are no ranks that dropped a branch alone");
    if (config->stochastic_depth.schedule == SD_DROP_CONSTANT && config->stochastic_depth.rate >= 0.5)
        sd_log_warn(
            "stochastic_depth.schedule = constant with rate %g drops early blocks as often as late ones; at 0.5 and above "
            "this usually costs accuracy (use schedule = linear)",
            config->stochastic_depth.rate);
    if (config->stochastic_depth.rate >= 0.4 && config->model.dropout > 0 && config->train.label_smoothing > 0)
        sd_log_warn(
            "stochastic_depth.rate %g together with model.dropout %g and train.label_smoothing %g regularises a lot; "
            "if training accuracy stays low, lower one of them",
            config->stochastic_depth.rate, config->model.dropout, config->train.label_smoothing);
    return SD_OK;
}

static sd_status check_lr(const sd_config *config) {
    for (int i = 1; i < config->lr.milestones.n; i++)
        if (config->lr.milestones.value[i] <= config->lr.milestones.value[i - 1])
            return sd_config_fail(config, "lr.milestones", "epochs must rise, but %g follows %g",
                                  config->lr.milestones.value[i], config->lr.milestones.value[i - 1]);
    if (config->lr.schedule != SD_LR_STEP && config->lr.milestones.n > 0)
        return sd_config_fail(config, "lr.milestones", "milestones are used with lr.schedule = step only");
    if (config->lr.minimum > config->lr.base)
        return sd_config_fail(config, "lr.minimum", "%g is above lr.base = %g", config->lr.minimum, config->lr.base);
    if (config->lr.warmup_epochs > (double)config->train.epochs)
        return sd_config_fail(config, "lr.warmup_epochs", "%g is more than train.epochs = %lld",
                              config->lr.warmup_epochs, (long long)config->train.epochs);
    return SD_OK;
}

static sd_status check_shards(const sd_config *config, int ranks) {
    const long long shards = config->communication.shards, batch = config->train.batch_size;
    if (config->communication.reduction != SD_REDUCTION_REPRODUCIBLE)
        return SD_OK;
    if ((shards & (shards - 1)) != 0)
        return sd_config_fail(config, "communication.shards", "%lld is not a power of two", shards);
    if (shards % ranks != 0)
        return sd_config_fail(
            config, "communication.shards",
            "%d ranks cannot share %lld shards evenly; with reduction = reproducible use 1, 2, 4, ... ranks, at "
            "most as many as shards",
            ranks, shards);
    if (batch < shards)
        return sd_config_fail(config, "train.batch_size",
                              "%lld images cannot be cut into %lld shards (communication.shards)", batch, shards);
    if (config->stochastic_depth.scope == SD_DROP_SCOPE_RANK)
        return sd_config_fail(config, "stochastic_depth.scope",
                              "rank means other decisions on another number of ranks, which communication.reduction = "
                              "reproducible rules out; use global or sample");
    if (config->communication.wire == SD_WIRE_BF16)
        return sd_config_fail(config, "communication.wire",
                              "bf16 rounds the sums between ranks, so that results depend on their number, which "
                              "communication.reduction = reproducible rules out; use fp32");
    return SD_OK;
}

sd_status sd_config_check(sd_config *config, int ranks) {
    name_run(config);
    if (strchr(config->run.name, '/') || !strcmp(config->run.name, ".") || !strcmp(config->run.name, ".."))
        return sd_config_fail(config, "run.name", "'%s' is not the name of a folder; put the path into run.output",
                              config->run.name);
    if (config->run.output[0] == '\0')
        return sd_config_fail(config, "run.output", "a folder is expected; . is the one you are in");
    SD_TRY(check_drop(config));
    SD_TRY(check_lr(config));
    if (config->optimizer.nesterov && config->optimizer.name == SD_OPTIMIZER_SGD && config->optimizer.momentum == 0)
        return sd_config_fail(config, "optimizer.nesterov", "Nesterov momentum needs optimizer.momentum above 0");
    if (config->train.batch_size < ranks)
        return sd_config_fail(config, "train.batch_size",
                              "%lld images cannot be shared by %d ranks; every rank needs one",
                              (long long)config->train.batch_size, ranks);
    SD_TRY(check_shards(config, ranks));
    if (config->data.dataset != SD_DATASET_SYNTHETIC && config->data.path[0] == '\0')
        return sd_config_fail(config, "data.path", "this dataset is read from files; name their folder");
    return SD_OK;
}
