/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain predict: the classes of images, by a checkpoint, as an evaluation sees them: preprocessing, stochastic depth
 * and running statistics are those of the checkpoint.
 *
 * The same threads decode some batches of images and then compute them, in turn: both are bound by the processors, so
 * threads of both kinds at once would only be in each other's way. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "prediction.h"
#include "sdtrain/arena.h"
#include "sdtrain/processors.h"
#include "shown.h"
#include "survey.h"
#include "tools.h"

enum { MOST_IMAGES = 32 /* of a pass */, MOST_BYTES = 1 << 30 /* of activations and images */, WIDEST_PATH = 60 };

typedef struct options {
    const char *checkpoint;
    const char **inputs; /* [n_inputs]; the caller frees it */
    int n_inputs, top, threads;
    sd_prediction_format format;
} options;

typedef struct prediction {
    const options *options;
    sd_loaded loaded;
    sd_class_names names;
    sd_drop_spec drop;
    sd_drop_plan plan;
    sd_listing *files;
    uint64_t n_missed; /* inputs that could not be listed */
    sd_dataset *dataset;
    int max_images;       /* of a pass */
    uint32_t at_once;     /* images that are decoded in one turn: as many passes as there are threads */
    float *pixels;        /* [at_once, size, size, SD_CHANNELS] */
    sd_outcome *outcomes; /* [at_once] */
    int top;
    sd_prediction *predictions; /* [top] */
    sd_prediction_printer printer;
    bool has_bad, has_missing;
} prediction;

/* ---- the command line ---- */

static sd_status parse_format(sd_prediction_format format, options *o) {
    if (o->format != SD_PREDICTION_PLAIN && o->format != format)
        return sd_fail(SD_ERR_USAGE, "--csv and --json exclude each other");
    o->format = format;
    return SD_OK;
}

static void add_word(const char *word, options *o) {
    if (!o->checkpoint)
        o->checkpoint = word;
    else
        o->inputs[o->n_inputs++] = word;
}

/* Behind "--" every word is a path. */
static sd_status parse_options(int n, char **words, options *o) {
    bool options_end = false;
    for (int i = 0; i < n; i++) {
        const char *word = words[i], *value = i + 1 < n ? words[i + 1] : NULL;
        if (options_end || word[0] != '-')
            add_word(word, o);
        else if (!strcmp(word, "--"))
            options_end = true;
        else if (!strcmp(word, "--csv"))
            SD_TRY(parse_format(SD_PREDICTION_CSV, o));
        else if (!strcmp(word, "--json"))
            SD_TRY(parse_format(SD_PREDICTION_JSON, o));
        else if (!strcmp(word, "--top"))
            SD_TRY(sd_tool_number(word, value, 1 << 20, &o->top));
        else if (!strcmp(word, "--threads"))
            SD_TRY(sd_tool_number(word, value, SD_MAX_THREADS, &o->threads));
        else
            return sd_fail(SD_ERR_USAGE, "predict has no option %s (--help lists all)", word);
        i += !options_end && (!strcmp(word, "--top") || !strcmp(word, "--threads"));
    }
    if (!o->checkpoint || o->n_inputs == 0)
        return sd_fail(SD_ERR_USAGE, "predict needs a checkpoint, and images or folders (--help shows how)");
    return SD_OK;
}

/* As many as this process has processors, by its mask and its quotas. */
static int default_threads(void) {
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS];
    double threads = sd_processors_allowed();
    const int n = sd_processors_limits("", limits);
    for (int i = 0; i < n; i++)
        threads = fmin(threads, ceil(limits[i].processors));
    return (int)fmin(threads, SD_MAX_THREADS);
}

/* ---- opening ---- */

/* The largest power of two up to MOST_IMAGES with which activations and a turn's images fit MOST_BYTES. */
static sd_status choose_images(prediction *p) {
    const size_t batches = (size_t)p->options->threads,
                 image_bytes = sd_sample_elems(p->loaded.samples) * sizeof(float);
    for (p->max_images = MOST_IMAGES; p->max_images > 1; p->max_images /= 2) {
        size_t bytes;
        SD_TRY(sd_loaded_activation_bytes(&p->loaded, p->max_images, &bytes));
        if (bytes + batches * (size_t)p->max_images * image_bytes <= MOST_BYTES)
            break;
    }
    return SD_OK;
}

/* Weights belong to their rates and scale, which are the checkpoint's. */
static sd_status plan_evaluation(prediction *p) {
    const sd_loaded *l = &p->loaded;
    p->drop = (sd_drop_spec){.scope = l->config.stochastic_depth.scope,
                             .scale = l->config.stochastic_depth.scale,
                             .ranks = 1,
                             .units = sd_network_n_units(l->network)};
    SD_TRY(sd_rates_of(l, &p->drop.rate));
    SD_TRY(sd_drop_plan_create(p->drop.units, &p->plan));
    sd_drop_plan_evaluation(&p->drop, NULL, &p->plan);
    return SD_OK;
}

static sd_status open_network(prediction *p) {
    sd_loaded *l = &p->loaded;
    SD_TRY(sd_loaded_open_file(p->options->checkpoint, l));
    SD_TRY(sd_class_names_init(l->path, l->info.class_names, l->samples.classes, &p->names));
    sd_kernels_set_threads(p->options->threads);
    sd_kernels_share_processors();
    l->config.stochastic_depth.scope =
        SD_DROP_SCOPE_GLOBAL; /* an evaluation gathers no images, and needs no room for it */
    SD_TRY(choose_images(p));
    SD_TRY(sd_loaded_open_network(l, p->max_images));
    SD_TRY(plan_evaluation(p));
    p->top = p->options->top < p->names.n ? p->options->top : p->names.n;
    return sd_alloc(&p->predictions, (size_t)p->top, sizeof *p->predictions);
}

static int widest_path(const sd_listing *files) {
    char path[SD_LISTING_PATH_BYTES];
    int widest = 0;
    for (uint32_t i = 0; i < sd_listing_images(files, true) && widest < WIDEST_PATH; i++) {
        const int width = sd_shown_width(sd_listing_path(files, true, i, path));
        widest = width > widest ? width : widest;
    }
    return widest < WIDEST_PATH ? widest : WIDEST_PATH;
}

static sd_status open_images(prediction *p) {
    const sd_loaded *l = &p->loaded;
    const sd_data_spec spec = sd_config_data(&l->config);
    SD_TRY(sd_data_find_files(p->options->n_inputs, p->options->inputs, &p->n_missed, &p->files));
    SD_TRY(sd_dataset_open_files(&spec, l->samples, l->info.mean, l->info.deviation, p->files, &p->dataset));
    const uint64_t images = sd_dataset_images(p->dataset, SD_SPLIT_VALIDATION),
                   most = (uint64_t)p->max_images * (uint64_t)p->options->threads;
    p->at_once = (uint32_t)(images < most ? images : most);
    SD_TRY(sd_alloc_floats(&p->pixels, p->at_once * sd_sample_elems(l->samples)));
    return sd_alloc(&p->outcomes, p->at_once, sizeof *p->outcomes);
}

static void close_all(prediction *p) {
    sd_dataset_close(&p->dataset);
    sd_listing_free(&p->files);
    sd_drop_plan_free(&p->plan);
    sd_class_names_free(&p->names);
    sd_loaded_close(&p->loaded);
    free(p->drop.rate);
    free(p->predictions);
    free(p->outcomes);
    free(p->pixels);
}

/* ---- predicting ---- */

static void tell_bad(prediction *p, const char *path, sd_status status, const char *message) {
    p->has_missing |= status == SD_ERR_NOINPUT;
    p->has_bad |= status != SD_ERR_NOINPUT;
    fprintf(stderr, "sdtrain: %s\n", message);
    sd_prediction_print_bad(&p->printer, path, sd_reason_of(message, path));
}

static void tell(prediction *p, uint32_t index, const float *logits, const sd_outcome *outcome) {
    char path[SD_LISTING_PATH_BYTES];
    sd_listing_path(p->files, true, index, path);
    if (outcome->status != SD_OK) {
        tell_bad(p, path, outcome->status, outcome->message);
    } else if (!sd_predictions_of(logits, p->names.n, p->top, p->predictions)) {
        (void)sd_fail(SD_ERR_DATA, "%s: the network's output for it is not finite", path);
        tell_bad(p, path, SD_ERR_DATA, sd_error_message());
    } else {
        sd_prediction_print(&p->printer, path, p->top, p->predictions);
    }
}

/* What is printed is there before the next batch, and what cannot be printed ends it. */
static sd_status flush(void) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return SD_OK;
    return sd_fail(SD_ERR_IO, "standard output cannot be written: %s", strerror(errno));
}

/* Images first + at, ..., first + at + n - 1, which lie at place `at` of a turn. */
static sd_status predict_batch(prediction *p, uint32_t first, uint32_t at, uint32_t n) {
    const sd_input input = {.pixels = p->pixels + at * sd_sample_elems(p->loaded.samples)};
    const sd_pass pass = {.images = (int)n, .plan = &p->plan};
    const float *logits = sd_network_forward(p->loaded.network, &pass, &input);
    for (uint32_t i = 0; i < n; i++)
        tell(p, first + at + i, logits + i * (size_t)p->names.n, &p->outcomes[at + i]);
    return flush();
}

/* Images first, ..., first + n - 1. A bad one is computed as well, from what lies there, but its reason is told. */
static sd_status predict_turn(prediction *p, uint32_t first, uint32_t n) {
    const uint32_t most = (uint32_t)p->max_images;
    sd_dataset_prepare_range(p->dataset, SD_SPLIT_VALIDATION, (sd_range){first, n}, p->pixels, p->outcomes);
    for (uint32_t i = 0; i < n; i++)
        if (p->outcomes[i].status == SD_ERR_MEMORY)
            return sd_outcome_report(&p->outcomes[i]);
    for (uint32_t at = 0; at < n; at += most)
        SD_TRY(predict_batch(p, first, at, n - at < most ? n - at : most));
    return SD_OK;
}

static sd_status predict_all(prediction *p) {
    const uint32_t images = sd_dataset_images(p->dataset, SD_SPLIT_VALIDATION);
    p->printer = (sd_prediction_printer){.format = p->options->format, .names = &p->names};
    if (p->printer.format == SD_PREDICTION_PLAIN)
        p->printer.path_width = widest_path(p->files);
    sd_prediction_print_begin(&p->printer);
    for (uint32_t first = 0, n; first < images; first += n) {
        n = images - first < p->at_once ? images - first : p->at_once;
        SD_TRY(predict_turn(p, first, n));
    }
    sd_prediction_print_end(&p->printer);
    return SD_OK;
}

sd_status sd_tool_predict(int n, char **words, int *exit_code) {
    static prediction p; /* large */
    options o = {.top = 5};
    signal(SIGPIPE, SIG_DFL); /* whoever started it: where nobody reads on, it ends without a word */
    SD_TRY(sd_alloc(&o.inputs, (size_t)n, sizeof *o.inputs));
    sd_status status = parse_options(n, words, &o);
    if (o.threads == 0)
        o.threads = default_threads();
    p = (prediction){.options = &o};
    if (status == SD_OK)
        status = open_network(&p);
    if (status == SD_OK)
        status = open_images(&p);
    if (status == SD_OK)
        status = predict_all(&p);
    if (status == SD_OK && (p.has_bad || p.has_missing || p.n_missed > 0))
        *exit_code = sd_status_exit_code(p.has_bad ? SD_ERR_DATA : SD_ERR_NOINPUT);
    close_all(&p);
    free(o.inputs);
    return status;
}
