/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of several keys together: contradictions, and advice. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

static const char NAME_CHARACTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

static bool given(const sd_config *config, const char *section, const char *name) {
    return config->line[sd_key_find(section, name) - sd_keys] != 0;
}

/* Sets an empty run.name to the file's name without folder and ".ini". */
static sd_status name_run(sd_config *config) {
    const key *k = sd_key_find("run", "name");
    char name[SD_CONFIG_FILE], allowed[256];
    if (config->run.name[0])
        return SD_OK;
    const char *slash = strrchr(config->file, '/');
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : config->file);
    char *dot = strrchr(name, '.');
    if (dot && dot > name)
        *dot = '\0';
    if (sd_key_read(k, config, name))
        return SD_OK;
    sd_key_allowed(k, allowed, sizeof allowed);
    return sd_config_fail(config, "run.name",
                          "'%s', the name of the file, is not allowed; give run.name, or rename the file; allowed: %s",
                          name, allowed);
}

/* Refuses a path with "~" or "$", which only a shell expands. */
static sd_status check_path(const sd_config *config, const char *full, const char *path) {
    const char *home = getenv("HOME");
    const int user_bytes = (int)strcspn(path, "/");
    if (path[0] == '~' && user_bytes == 1 && home && home[0] == '/')
        return sd_config_fail(config, full, "'~' is not expanded in a configuration; write %s%s", home, path + 1);
    if (path[0] == '~')
        return sd_config_fail(config, full, "'%.*s' is not expanded in a configuration; write the folder it stands for",
                              user_bytes, path);
    for (const char *dollar = path; (dollar = strchr(dollar, '$')); dollar++) {
        char name[SD_CONFIG_TEXT];
        const bool braced = dollar[1] == '{';
        const char *first = dollar + 1 + braced;
        snprintf(name, sizeof name, "%.*s", (int)strspn(first, NAME_CHARACTERS), first);
        const char *value = getenv(name);
        if (braced || dollar[1] == '(' || (name[0] && !isdigit((unsigned char)name[0])))
            return sd_config_fail(config, full, "'%s' in it is not expanded in a configuration; write its value%s%s",
                                  dollar, value ? ", here " : "", value ? value : "");
    }
    return SD_OK;
}

/* Refuses quotes around a text: they would become part of it. */
static sd_status check_text(const sd_config *config, const char *full, const char *text) {
    const size_t bytes = strlen(text);
    if (bytes >= 2 && (text[0] == '"' || text[0] == '\'') && text[bytes - 1] == text[0])
        return sd_config_fail(config, full, "%s: quotes would be part of it; write %.*s", text, (int)bytes - 2,
                              text + 1);
    return SD_OK;
}

static sd_status check_texts(const sd_config *config) {
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        char full[64];
        if (k->type != KEY_TEXT && k->type != KEY_PATH)
            continue;
        snprintf(full, sizeof full, "%s.%s", k->section, k->name);
        const char *text = sd_key_value(k, config);
        SD_TRY(check_text(config, full, text));
        if (k->type == KEY_PATH)
            SD_TRY(check_path(config, full, text));
        if (config->line[i] > 0 && strstr(text, " #"))
            sd_log_warn("%s:%d: %s: '#' begins no comment behind a value (';' does); the value is '%s'", config->file,
                        config->line[i], full, text);
    }
    return SD_OK;
}

static sd_status check_drop(sd_config *config) {
    const char *rate_key = "stochastic_depth.rate";
    bool rate_given = given(config, "stochastic_depth", "rate");
    bool is_list = config->stochastic_depth.schedule == SD_DROP_LIST;
    if (given(config, "stochastic_depth", "survival_prob")) {
        if (rate_given)
            return sd_config_fail(config, rate_key, "rate and survival_prob say the same thing; give one of them");
        char decimal[32]; /* 1 - 0.8 shall be the double nearest to 0.2 */
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
        return sd_config_fail(config, "stochastic_depth.rank_divisor",
                              "kept needs scope = rank: in the other scopes no rank drops a branch by itself");
    if (config->stochastic_depth.min_kept > 0 && config->stochastic_depth.scope != SD_DROP_SCOPE_GLOBAL)
        return sd_config_fail(config, "stochastic_depth.min_kept",
                              "needs scope = global: ranks or images that draw for themselves have no plan in common");
    if (config->stochastic_depth.schedule == SD_DROP_CONSTANT && config->stochastic_depth.rate >= 0.5 &&
        config->stochastic_depth.scale != SD_DROP_SCALE_NONE) /* LayerDrop's own way */
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

/* Keys, up to NULL, of data that data.dataset is not must have their defaults. */
static sd_status check_defaults(const sd_config *config, const char *const *names, const char *data) {
    for (; *names; names++) {
        char full[64], value[SD_CONFIG_TEXT];
        const key *k = sd_key_find("data", *names);
        snprintf(full, sizeof full, "data.%s", k->name);
        if (strcmp(sd_config_value(config, full, value, sizeof value), k->initial) != 0)
            return sd_config_fail(config, full, "%s is for %s, and data.dataset = %s", value, data,
                                  sd_dataset_kind_word(config->data.dataset));
    }
    return SD_OK;
}

static sd_status check_data(const sd_config *config) {
    static const char *const of_images[] = {"image_size",   "interpolation", "crop_pct", "normalise",
                                            "on_bad_image", "augment",       NULL},
                             *const of_texts[] = {"lower_case", "sequence", NULL},
                             *const of_tables[] = {"vocab", "text_columns", "label_column", NULL};
    const bool tables = config->data.dataset == SD_DATASET_TEXT,
               texts = tables || config->data.dataset == SD_DATASET_SYNTHETIC_TEXT;
    SD_TRY(texts ? check_defaults(config, of_images, "images") : check_defaults(config, of_texts, "texts"));
    if (!tables)
        SD_TRY(check_defaults(config, of_tables, "tables of texts"));
    SD_TRY(sd_config_locate(config, sd_text_columns_check("data.text_columns", config->data.text_columns, 2)));
    return sd_config_locate(config, sd_text_columns_check("data.label_column", config->data.label_column, 1));
}

static sd_status check_init(const sd_config *config) {
    enum { DIGITS = 32 };
    const char *digest = config->model.init_digest;
    if (digest[0] && (strlen(digest) != DIGITS || strspn(digest, "0123456789abcdef") != DIGITS))
        return sd_config_fail(config, "model.init_digest", "%s is not the output of xxhsum -H128: %d digits of 0-9a-f",
                              digest, DIGITS);
    if (digest[0] && !config->model.init[0])
        return sd_config_fail(config, "model.init_digest",
                              "it is of the file that model.init names, and none is named");
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
    SD_TRY(name_run(config));
    SD_TRY(check_texts(config));
    if (strchr(config->run.name, '/') || !strcmp(config->run.name, ".") || !strcmp(config->run.name, ".."))
        return sd_config_fail(config, "run.name", "'%s' is not the name of a folder; put the path into run.output",
                              config->run.name);
    if (config->run.output[0] == '\0')
        return sd_config_fail(config, "run.output", "a folder is expected; . is the one you are in");
    if (config->checkpoint.resume[0] == '\0')
        return sd_config_fail(config, "checkpoint.resume", "auto, never, or a checkpoint file is expected");
    SD_TRY(check_init(config));
    SD_TRY(check_drop(config));
    SD_TRY(check_lr(config));
    if (config->optimizer.nesterov && config->optimizer.kind == SD_OPTIMIZER_SGD && config->optimizer.momentum == 0)
        return sd_config_fail(config, "optimizer.nesterov", "Nesterov momentum needs optimizer.momentum above 0");
    if (config->train.batch_size < ranks)
        return sd_config_fail(config, "train.batch_size",
                              "%lld images cannot be shared by %d ranks; every rank needs one",
                              (long long)config->train.batch_size, ranks);
    SD_TRY(check_shards(config, ranks));
    if (config->data.dataset != SD_DATASET_SYNTHETIC && config->data.dataset != SD_DATASET_SYNTHETIC_TEXT &&
        config->data.path[0] == '\0')
        return sd_config_fail(config, "data.path", "this dataset is read from files; name their folder");
    SD_TRY(check_data(config));
    return sd_config_locate(config, sd_normalise_check(config->data.normalise));
}
