/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain inspect: the content of a checkpoint as text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "survey.h"
#include "tools.h"

typedef struct options {
    const char *file;
    bool rates, tensors, config, json;
} options;

static sd_status parse_options(int n, char **words, options *o) {
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--rates"))
            o->rates = true;
        else if (!strcmp(words[i], "--tensors"))
            o->tensors = true;
        else if (!strcmp(words[i], "--config"))
            o->config = true;
        else if (!strcmp(words[i], "--json"))
            o->json = true;
        else if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "inspect has no option %s (--help lists all)", words[i]);
        else if (o->file)
            return sd_fail(SD_ERR_USAGE, "inspect shows one file; a second is given, %s", words[i]);
        else
            o->file = words[i];
    }
    return o->file ? SD_OK : sd_fail(SD_ERR_USAGE, "inspect needs a file (--help shows how)");
}

static const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }

/* Prints "loss 1.2345, accuracy 56.78 %", without values that are NAN. */
static void print_score(const char *name, double loss, double accuracy, double top5) {
    if (isnan(loss) && isnan(accuracy))
        return;
    printf("%-18s", name);
    if (!isnan(loss))
        printf("loss %.4f, ", loss);
    printf("accuracy %.2f %%", 100 * accuracy);
    if (!isnan(top5))
        printf(", top-5 %.2f %%", 100 * top5);
    printf("\n");
}

static void print_progress(const sd_progress *p) {
    printf("%-18sstep %" PRIu64 ": %" PRIu64 " epoch%s and %" PRIu64 " batch%s; %" PRIu64
           " images seen in %.1f s of training\n",
           "progress", p->step, p->epoch, plural(p->epoch), p->batch, p->batch == 1 ? "" : "es", p->images, p->seconds);
    if (p->decisions > 0)
        printf("%-18s%.2f %% of branches", "kept", 100 * p->kept / (double)p->decisions);
    if (p->decisions > 0 && p->bytes_full > 0)
        printf(", %.2f %% of gradient bytes", 100 * (double)p->bytes_reduced / (double)p->bytes_full);
    if (p->decisions > 0)
        printf("\n");
    print_score("training", p->train_loss, p->train_accuracy, NAN);
    print_score("validation", p->val_loss, p->val_accuracy, p->val_top5_accuracy);
    print_score("training images", NAN, p->train_eval_accuracy, NAN);
    if (!isnan(p->best_accuracy))
        printf("%-18s%.2f %% at step %" PRIu64 "\n", "best validation", 100 * p->best_accuracy, p->best_step);
}

static void print_drop(const sd_config *config) {
    printf("%-18s", "stochastic depth");
    for (int i = 0; i < sd_n_drop_keys; i++) {
        char key[64], value[64];
        snprintf(key, sizeof key, "stochastic_depth.%s", sd_drop_keys[i]);
        printf("%s%s %s", i ? ", " : "", sd_drop_keys[i], sd_config_value(config, key, value, sizeof value));
    }
    printf("\n");
}

static void print_summary(const sd_loaded *l) {
    const sd_checkpoint_info *c = &l->info;
    char value[64];
    printf("%-18s%s, %zu bytes\n", "file", l->path, sd_checkpoint_file_bytes(l->file));
    for (int i = 0; i < l->n_entries; i++)
        if (!strcmp(l->entries[i].path, "format_version")) {
            int64_t *version = NULL;
            if (sd_checkpoint_read(l->file, &l->entries[i], (void **)&version) == SD_OK)
                printf("%-18s%" PRId64 "\n", "format version", *version);
            free(version);
        }
    printf("%-18s%s: %zu parameters, %d branches, %d classes", "model", l->config.model.name,
           sd_network_parameters(l->network), sd_network_n_units(l->network), l->samples.classes);
    if (!c->vocab)
        printf(", %d x %d pixels", l->samples.image_size, l->samples.image_size);
    printf("\n");
    print_drop(&l->config);
    printf("%-18s%s\n", "optimizer", sd_config_value(&l->config, "optimizer.name", value, sizeof value));
    printf("%-18s%d rank%s x %d thread%s, %s kernels; seed %u\n", "trained on", c->ranks, plural((uint64_t)c->ranks),
           c->threads, plural((uint64_t)c->threads), c->isa, c->seed);
    print_progress(&c->progress);
    if (c->vocab)
        printf("%-18s%d word pieces, of a vocabulary of %d\n", "texts", c->sequence, c->vocabulary);
    else
        printf("%-18smean %.6g %.6g %.6g, deviation %.6g %.6g %.6g\n", "images", (double)c->mean[0], (double)c->mean[1],
               (double)c->mean[2], (double)c->deviation[0], (double)c->deviation[1], (double)c->deviation[2]);
    sd_group groups[SD_MAX_GROUPS];
    const int n = sd_groups_of(l, groups);
    printf("\n%-18s%12s  %8s\n", "group", "bytes", "datasets");
    for (int i = 0; i < n; i++)
        printf("%-18s%12zu  %8d\n", groups[i].name, groups[i].bytes, groups[i].datasets);
}

static sd_status print_rates(const sd_loaded *l) {
    double *rate;
    SD_TRY(sd_rates_of(l, &rate));
    printf("\n%-8s%-24s%7s%12s\n", "branch", "name", "depth", "drop rate");
    for (int i = 0; i < sd_network_n_units(l->network); i++) {
        const sd_unit *unit = sd_network_unit(l->network, i);
        printf("%-8d%-24s%7d%12.6f\n", i + 1, unit->name, unit->depth, rate[i]);
    }
    free(rate);
    return SD_OK;
}

static sd_status print_tensors(const sd_loaded *l) {
    int width = 6;
    for (int i = 0; i < l->n_entries; i++)
        if (sd_entry_is_in(&l->entries[i], "/model") && (int)strlen(l->entries[i].path) > width)
            width = (int)strlen(l->entries[i].path);
    printf("\n%-*s  %-18s%-9s%14s%14s%14s%14s\n", width, "tensor", "shape", "type", "min", "max", "mean", "L2");
    for (int i = 0; i < l->n_entries; i++) {
        const sd_entry *entry = &l->entries[i];
        char shape[96], type[16];
        sd_moments m;
        if (!sd_entry_is_in(entry, "/model"))
            continue;
        SD_TRY(sd_moments_of(l, entry, &m));
        printf("%-*s  %-18s%-9s%14.6g%14.6g%14.6g%14.6g\n", width, entry->path, sd_entry_shape(entry, shape),
               sd_entry_type(entry, type), m.min, m.max, m.mean, m.l2);
    }
    return SD_OK;
}

static sd_status inspect(sd_loaded *l, void *context) {
    const options *o = context;
    if (o->json)
        return sd_inspect_json(l);
    print_summary(l);
    if (o->rates)
        SD_TRY(print_rates(l));
    if (o->tensors)
        SD_TRY(print_tensors(l));
    if (o->config)
        printf("\n%s", l->info.config);
    return SD_OK;
}

sd_status sd_tool_inspect(int n, char **words, int *exit_code) {
    options o = {0};
    (void)exit_code;
    SD_TRY(parse_options(n, words, &o));
    return sd_loaded_use(o.file, inspect, &o);
}
