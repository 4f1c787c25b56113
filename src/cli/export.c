/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain export: the network of a checkpoint as a safetensors file, for PyTorch, timm and torchvision; or as an ONNX
 * file, for inference runtimes (export_onnx.c). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "sdtrain/safetensors.h"
#include "survey.h"
#include "tools.h"

typedef struct options {
    const char *file, *out, *keep;
    bool fold, onnx;
} options;

static bool ends_with(const char *text, const char *ending) {
    const size_t n = strlen(text), m = strlen(ending);
    return n > m && !strcmp(text + n - m, ending);
}

static sd_status parse_options(int n, char **words, options *o) {
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--fold"))
            o->fold = true;
        else if (!strcmp(words[i], "--onnx"))
            o->onnx = true;
        else if (!strcmp(words[i], "--keep"))
            SD_TRY(sd_tool_value(n, words, &i, &o->keep));
        else if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "export has no option %s (--help lists all)", words[i]);
        else if (!o->file)
            o->file = words[i];
        else if (!o->out)
            o->out = words[i];
        else
            return sd_fail(SD_ERR_USAGE, "export makes one file of one; a third is given, %s", words[i]);
    }
    if (!o->out)
        return sd_fail(SD_ERR_USAGE, "export needs a checkpoint and the name of the new file (--help shows how)");
    if (o->onnx && o->fold)
        return sd_fail(SD_ERR_USAGE,
                       "export: --fold is for safetensors; an ONNX file has the factors of an evaluation");
    if (ends_with(o->out, "/") && !o->onnx)
        return SD_OK;
    const char *ending = o->onnx ? ".onnx" : ".safetensors";
    if (!ends_with(o->out, ending)) /* so that no checkpoint is replaced by mistake */
        return sd_fail(SD_ERR_USAGE, "%s: is to be %s file, and does not end in %s", o->out,
                       o->onnx ? "an ONNX" : "a safetensors", ending);
    return SD_OK;
}

/* ---- folding ---- */

/* Multiplies each branch by 1 - p_l, which is what an evaluation multiplies it with if scale = inference. */
static sd_status fold(sd_loaded *l, const double *rate) {
    const int units = sd_network_n_units(l->network);
    float *keep;
    SD_TRY(sd_alloc(&keep, (size_t)units, sizeof *keep));
    for (int i = 0; i < units; i++)
        keep[i] = (float)(1 - rate[i]);
    sd_network_scale_branches(l->network, keep);
    free(keep);
    return SD_OK;
}

/* ---- metadata ---- */

enum { MOST_KEYS = 16, RATE_BYTES = 32 };

/* What the file's metadata are to hold: keys, values, NULL; and the memory of values. */
typedef struct metadata {
    const char *text[2 * MOST_KEYS + 1];
    char value[MOST_KEYS][SD_CONFIG_TEXT];
    char *rates;
    int n;
} metadata;

__attribute__((format(printf, 3, 4))) static void say(metadata *m, const char *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(m->value[m->n], sizeof m->value[m->n], format, arguments);
    va_end(arguments);
    m->text[2 * m->n] = key;
    m->text[2 * m->n + 1] = m->value[m->n];
    m->n++;
}

/* "0.05, 0.1, ...": of the units. */
static sd_status say_rates(metadata *m, const double *rate, int units) {
    size_t used = 0;
    SD_TRY(sd_alloc(&m->rates, (size_t)units + 1, RATE_BYTES));
    for (int i = 0; i < units; i++)
        used += (size_t)snprintf(m->rates + used, RATE_BYTES, "%s%.15g", i ? ", " : "", rate[i]);
    m->text[2 * m->n] = "rates";
    m->text[2 * m->n + 1] = m->rates;
    m->n++;
    return SD_OK;
}

/* scale says what the network in the file needs at evaluation, so a folded one is of "training". */
static sd_status describe(const sd_loaded *l, const double *rate, bool folded, metadata *m) {
    const sd_checkpoint_info *info = &l->info;
    char layers[64];
    const sd_drop_scale scale = folded ? SD_DROP_SCALE_TRAINING : l->config.stochastic_depth.scale;
    say(m, "model", "%s", l->config.model.name);
    say(m, "classes", "%d", l->samples.classes);
    if (sd_samples_are_texts(l->samples)) {
        say(m, "sequence", "%d", l->samples.sequence);
        say(m, "vocabulary", "%d", l->samples.vocabulary);
    } else {
        say(m, "image_size", "%d", l->samples.image_size);
        say(m, "mean", "%.9g, %.9g, %.9g", (double)info->mean[0], (double)info->mean[1], (double)info->mean[2]);
        say(m, "std", "%.9g, %.9g, %.9g", (double)info->deviation[0], (double)info->deviation[1],
            (double)info->deviation[2]);
    }
    say(m, "step", "%" PRIu64, info->progress.step);
    say(m, "scale", "%s", sd_drop_scale_word(scale));
    if (folded)
        say(m, "folded", "true");
    if (l->config.model.layers.n > 0)
        say(m, "layers", "%s", sd_config_value(&l->config, "model.layers", layers, sizeof layers));
    say(m, "sdtrain", "%s", SD_VERSION);
    return say_rates(m, rate, sd_network_n_units(l->network));
}

/* ---- the file ---- */

static sd_status write_safetensors(sd_loaded *l, const options *o, const double *rate, bool folded) {
    metadata m = {.n = 0};
    sd_weights weights = {0};
    sd_status status;
    say(&m, "format", "pt");
    SD_TRY_CLEANUP(describe(l, rate, folded, &m));
    SD_TRY_CLEANUP(sd_network_state(l->network, &weights));
    SD_TRY_CLEANUP(sd_safetensors_write(o->out, &weights, m.text));
    printf("%s: %d tensors, %zu parameters%s\n", o->out, weights.n, sd_network_parameters(l->network),
           folded ? ", branches times 1-p" : "");
cleanup:
    sd_weights_free(&weights);
    free(m.rates);
    return status;
}

/* A folder for Hugging Face; the network last, so that a folder with it is whole. */
static sd_status write_folder(sd_loaded *l, const options *o, const double *rate, bool folded) {
    char path[4096];
    options file = *o;
    size_t made_from;
    if (!l->info.vocab)
        return sd_fail(
            SD_ERR_CONFIG,
            "%s: is of images; a folder, for Hugging Face's from_pretrained(), is made of a BERT; name a file "
            "that ends in .safetensors",
            o->file);
    SD_TRY(sd_file_make_folders(o->out, &made_from));
    SD_TRY(sd_export_folder(l, o->out));
    snprintf(path, sizeof path, "%smodel.safetensors", o->out);
    file.out = path;
    return write_safetensors(l, &file, rate, folded);
}

static sd_status write_onnx(sd_loaded *l, const options *o, double *rate) {
    metadata m = {.n = 0};
    sd_status status;
    SD_TRY_CLEANUP(describe(l, rate, l->config.stochastic_depth.scale == SD_DROP_SCALE_INFERENCE, &m));
    SD_TRY_CLEANUP(sd_export_onnx(l, rate, o->out, m.text));
cleanup:
    free(m.rates);
    return status;
}

static sd_status export(sd_loaded *l, void *context) {
    const options *o = context;
    if (o->keep)
        SD_TRY(sd_loaded_prune(l, o->keep));
    const bool folds = o->fold && l->config.stochastic_depth.scale == SD_DROP_SCALE_INFERENCE;
    double *rate = NULL;
    sd_status status;
    SD_TRY_CLEANUP(sd_rates_of(l, &rate));
    if (folds)
        SD_TRY_CLEANUP(fold(l, rate));
    else if (o->fold)
        printf("%s: was trained with stochastic_depth.scale = %s: its branches need no factor, nothing is folded\n",
               o->file, sd_drop_scale_word(l->config.stochastic_depth.scale));
    if (o->onnx)
        SD_TRY_CLEANUP(write_onnx(l, o, rate));
    else if (ends_with(o->out, "/"))
        SD_TRY_CLEANUP(write_folder(l, o, rate, folds));
    else
        SD_TRY_CLEANUP(write_safetensors(l, o, rate, folds));
cleanup:
    free(rate);
    return status;
}

sd_status sd_tool_export(int n, char **words, int *exit_code) {
    options o = {0};
    (void)exit_code;
    SD_TRY(parse_options(n, words, &o));
    return sd_loaded_use(o.file, export, &o);
}
