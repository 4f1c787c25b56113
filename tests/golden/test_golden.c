/* SPDX-License-Identifier: Apache-2.0 */
/* The C code against PyTorch (torchvision, timm, Hugging Face): logits, loss, every gradient, batch-norm statistics and
 * ten-step loss curves (README.md here). A tensor passes if |ours - ref|_2 <= max(1e-4, 4 x the error of PyTorch's own
 * float32) x |ref|_2. */
#include <check.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/sdtrain.h"
#include "support.h"

enum { STEPS = 10, SKETCH = 1024, MAX_NAME = 160 };

typedef struct golden {
    hid_t file;
    const char *scale;
    uint32_t seed;
    int batch, image_size, classes, units;
    int sequence, vocabulary; /* of texts; of images 0 */
    uint32_t first_batch;     /* number of the images of step 0 */
    double smoothing;
    unsigned char *plans; /* [STEPS][units] */
    sd_drop_spec drop;
    sd_drop_plan plan;
    sd_network *network;
    sd_config *config;
    float *images, *dlogits, *losses;
    int32_t *tokens, *lengths, *second;
    int32_t *labels, *ranks;
} golden;

/* ---- the file ---- */

static double read_attribute(hid_t object, const char *name) {
    double value;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    ck_assert_msg(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0, "attribute %s", name);
    H5Aclose(attribute);
    return value;
}

static size_t read_values(hid_t file, const char *path, hid_t type, size_t value_bytes, void *place) {
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    ck_assert_msg(dataset >= 0, "%s is missing in the golden", path);
    hid_t space = H5Dget_space(dataset);
    size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    void *values = malloc(n * value_bytes);
    ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    memcpy(place, &values, sizeof values);
    H5Sclose(space);
    H5Dclose(dataset);
    return n;
}

/* A reference with its tolerance and the norm that tolerance is relative to. */
typedef struct reference {
    double *values, norm, tolerance;
    size_t n;
    bool sketched;
} reference;

static reference read_reference(const golden *g, const char *name, bool gradient) {
    char path[MAX_NAME];
    reference r = {0};
    snprintf(path, sizeof path, "%s/%s", g->scale, name);
    r.n = read_values(g->file, path, H5T_NATIVE_DOUBLE, sizeof(double), &r.values);
    hid_t dataset = H5Dopen2(g->file, path, H5P_DEFAULT);
    r.tolerance = fmax(1e-4, 4 * read_attribute(dataset, "f32_error"));
    if (gradient) {
        r.norm = read_attribute(dataset, "norm");
        r.sketched = read_attribute(dataset, "sketched") != 0;
    } else {
        for (size_t i = 0; i < r.n; i++)
            r.norm += r.values[i] * r.values[i];
        r.norm = sqrt(r.norm);
    }
    H5Dclose(dataset);
    return r;
}

/* ---- inputs that both sides make ---- */

static uint32_t stream_of(const char *name) { /* FNV-1a */
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

static sd_random word(const golden *g, const char *name, uint32_t c0, uint32_t c1) {
    return sd_random_at(g->seed, stream_of(name), (uint64_t)c1 << 32 | c0, 0);
}

static void fill_tensor(const golden *g, const sd_tensor *t) {
    double center = 0, halfwidth = 0.1; /* biases and running means */
    if (!strcmp(t->name, "pos_embed") || !strcmp(t->name, "cls_token")) {
        halfwidth = 0.05;
    } else if (t->dims == 4) {
        halfwidth = sqrt(6.0 / (t->shape[1] * t->shape[2] * t->shape[3]));
    } else if (t->dims == 2) {
        halfwidth = sqrt(3.0 / t->shape[1]);
    } else if (ends_with(t->name, ".weight") || ends_with(t->name, ".running_var")) {
        center = 1;
        halfwidth = 0.25;
    }
    float *array = malloc(t->elems * sizeof *array);
    for (size_t i = 0; i < t->elems; i++)
        array[i] = (float)(center + halfwidth * (2 * sd_random_uniform(word(g, t->name, (uint32_t)i, 0).word[0]) - 1));
    sd_tensor_import(t, array, value_of(g->network, t));
    free(array);
}

static void reset_weights(golden *g) {
    for (int i = 0; i < sd_network_n_tensors(g->network); i++)
        fill_tensor(g, sd_network_tensor(g->network, i));
    for (int i = 0; i < sd_network_n_segments(g->network); i++)
        sd_network_set_kept_steps(g->network, i, 0);
}

static int32_t drawn(const golden *g, const char *name, size_t i, uint32_t batch, int bound) {
    return (int32_t)(word(g, name, (uint32_t)i, batch).word[0] % (uint32_t)bound);
}

/* Text 0 fills the sequence, text 1 has two tokens, the others any number; odd texts are pairs. */
static void make_texts(golden *g, uint32_t b) {
    for (int n = 0; n < g->batch && g->sequence; n++) {
        const int t = g->sequence;
        const int32_t length = n == 0 ? t : n == 1 ? 2 : 2 + drawn(g, "lengths", (size_t)n, b, t - 1);
        g->lengths[n] = length;
        g->second[n] = n % 2 ? 1 + drawn(g, "second", (size_t)n, b, length - 1) : length;
        for (int i = n * t; i < (n + 1) * t; i++)
            g->tokens[i] = i - n * t < length ? drawn(g, "tokens", (size_t)i, b, g->vocabulary) : 0;
    }
}

/* Images or texts, and labels, of a step. */
static void make_batch(golden *g, int step) {
    const uint32_t b = g->first_batch + (uint32_t)step;
    make_texts(g, b);
    const size_t elems = (size_t)g->batch * (size_t)g->image_size * (size_t)g->image_size * 3;
    for (size_t i = 0; i < elems; i++)
        g->images[i] = (float)(sqrt(3.0) * (2 * sd_random_uniform(word(g, "images", (uint32_t)i, b).word[0]) - 1));
    for (int n = 0; n < g->batch; n++)
        g->labels[n] = drawn(g, "labels", (size_t)n, b, g->classes);
}

/* Of the batch, from an image on. */
static sd_input input_from(const golden *g, int first) {
    const size_t image = (size_t)g->image_size * (size_t)g->image_size * 3, n = (size_t)first;
    if (!g->sequence)
        return (sd_input){.pixels = g->images + n * image};
    return (sd_input){
        .tokens = g->tokens + n * (size_t)g->sequence, .lengths = g->lengths + n, .second = g->second + n};
}

/* ---- comparing ---- */

static void expect_golden(const char *what, const reference *r, const double *ours) {
    double error = 0;
    for (size_t i = 0; i < r->n; i++) {
        ck_assert_msg(isfinite(ours[i]), "%s: value %zu is not finite", what, i);
        error += (ours[i] - r->values[i]) * (ours[i] - r->values[i]);
    }
    error = sqrt(error);
    if (r->norm == 0)
        ck_assert_msg(error == 0, "%s: must be exactly zero", what);
    else
        ck_assert_msg(error <= r->tolerance * r->norm, "%s: relative error %.3g, allowed %.3g", what, error / r->norm,
                      r->tolerance);
}

static void expect_golden_floats(const golden *g, const char *name, const float *ours, bool gradient) {
    reference r = read_reference(g, name, gradient);
    double *values = malloc(r.n * sizeof *values);
    for (size_t i = 0; i < r.n; i++)
        values[i] = ours[i];
    expect_golden(name, &r, values);
    free(values);
    free(r.values);
}

static void expect_golden_number(const golden *g, const char *name, double ours) {
    reference r = read_reference(g, name, false);
    expect_golden(name, &r, &ours);
    free(r.values);
}

static void expect_golden_gradient(const golden *g, const char *group, const sd_tensor *t) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s/%s", group, t->name);
    reference r = read_reference(g, name, true);
    float *array = malloc(t->elems * sizeof *array);
    sd_tensor_export(t, gradient_of(g->network, t), array);
    if (!r.sketched) {
        ck_assert_uint_eq(r.n, t->elems);
        expect_golden_floats(g, name, array, true);
    } else {
        double sketch[SKETCH] = {0};
        for (size_t i = 0; i < t->elems; i++) {
            sd_random w = word(g, t->name, (uint32_t)i, 1);
            sketch[w.word[0] % SKETCH] += w.word[1] & 1 ? array[i] : -array[i];
        }
        expect_golden(name, &r, sketch);
    }
    free(array);
    free(r.values);
}

/* Every learned tensor, or those that the group holds. */
static void expect_gradients(const golden *g, const char *group, bool must_be_there) {
    int found = 0;
    for (int i = 0; i < sd_network_n_tensors(g->network); i++) {
        const sd_tensor *t = sd_network_tensor(g->network, i);
        char path[MAX_NAME];
        snprintf(path, sizeof path, "%s/%s/%s", g->scale, group, t->name);
        if (t->kind != SD_TENSOR_PARAMETER || (!must_be_there && H5Lexists(g->file, path, H5P_DEFAULT) <= 0))
            continue;
        expect_golden_gradient(g, group, t);
        found++;
    }
    ck_assert_int_gt(found, 0);
}

static void expect_statistics(const golden *g) {
    char name[MAX_NAME];
    for (int i = 0; i < sd_network_n_tensors(g->network); i++) {
        const sd_tensor *t = sd_network_tensor(g->network, i);
        snprintf(name, sizeof name, "stats/%s", t->name);
        if (t->kind == SD_TENSOR_STATISTIC)
            expect_golden_floats(g, name, value_of(g->network, t), false);
    }
}

/* ---- running ---- */

static void set_plan(golden *g, int step) {
    sd_drop_plan_draw(&g->drop, 1, 8, &g->plan); /* for the scales */
    for (int i = 0; i < g->units; i++)
        g->plan.kept[i] = g->plans[step * g->units + i];
}

static double mean_loss(golden *g, const float *logits, double smoothing) {
    double sum = 0;
    sd_kernels_at(0)->cross_entropy_forward((size_t)g->batch, g->classes, logits, &(sd_targets){.labels = g->labels},
                                            (float)smoothing, g->losses, g->ranks);
    for (int n = 0; n < g->batch; n++)
        sum += g->losses[n];
    return sum / g->batch;
}

/* Forward and backward on batch and plan of a step; returns the loss before the update. */
static double train_pass(golden *g, int step, const float **logits) {
    make_batch(g, step);
    set_plan(g, step);
    const sd_pass pass = {.images = g->batch, .training = true, .plan = &g->plan, .batch_share = 1};
    const sd_input input = input_from(g, 0);
    *logits = sd_network_forward(g->network, &pass, &input);
    double loss = mean_loss(g, *logits, g->smoothing);
    sd_kernels_at(0)->cross_entropy_backward((size_t)g->batch, g->classes, *logits, &(sd_targets){.labels = g->labels},
                                             (float)g->smoothing, 1.0f / (float)g->batch, g->dlogits);
    sd_network_backward(g->network, &pass, &input, g->dlogits, ignore_segment, NULL);
    sd_network_update_statistics(g->network, &g->plan);
    return loss;
}

static void check_evaluation(golden *g) {
    reset_weights(g);
    make_batch(g, 0);
    sd_drop_plan_evaluation(&g->drop, NULL, &g->plan);
    const sd_pass pass = {.images = g->batch, .plan = &g->plan};
    const sd_input input = input_from(g, 0);
    const float *logits = sd_network_forward(g->network, &pass, &input);
    expect_golden_floats(g, "eval_logits", logits, false);
    expect_golden_number(g, "eval_loss", mean_loss(g, logits, g->smoothing));
}

static void check_step(golden *g, int step) {
    const float *logits;
    reset_weights(g);
    memset(sd_network_gradients(g->network), 0, sd_network_buffer_elems(g->network) * sizeof(float));
    double loss = train_pass(g, step, &logits);
    expect_golden_floats(g, "logits", logits, false);
    expect_golden_number(g, "loss", loss);
    expect_gradients(g, "grad", true);
    expect_statistics(g);
}

/* Which step of which curve meets a relu mask that rounding flips is chance, so the bound of all curves of a convention
 * comes from the largest error that PyTorch's own float32 makes in any of them. */
static double curve_tolerance(const golden *g) {
    static const char *const curves[] = {"curve_sgd", "curve_adamw", "curve_sgd_freeze", "curve_adamw_freeze"};
    double tolerance = 1e-4, f32_error[STEPS];
    for (size_t c = 0; c < sizeof curves / sizeof curves[0]; c++) {
        char path[MAX_NAME];
        snprintf(path, sizeof path, "%s/%s", g->scale, curves[c]);
        if (H5Lexists(g->file, path, H5P_DEFAULT) <= 0)
            continue;
        hid_t attribute = H5Aopen_by_name(g->file, path, "f32_error", H5P_DEFAULT, H5P_DEFAULT);
        ck_assert_int_ge(H5Aread(attribute, H5T_NATIVE_DOUBLE, f32_error), 0);
        H5Aclose(attribute);
        for (int step = 0; step < STEPS; step++)
            tolerance = fmax(tolerance, 4 * f32_error[step]);
    }
    return tolerance;
}

static void check_curve(golden *g, const char *name, const char *optimizer_name, const char *dropped_update) {
    char path[MAX_NAME], setting[64];
    snprintf(path, sizeof path, "%s/%s", g->scale, name);
    if (H5Lexists(g->file, path, H5P_DEFAULT) <= 0)
        return; /* freeze, of resnet50 */
    const bool adamw = !strcmp(optimizer_name, "adamw");
    const char *settings[] = {"optimizer.nesterov=true",
                              adamw ? "optimizer.weight_decay=0.05" : "optimizer.weight_decay=5e-4",
                              adamw ? "optimizer.decay=matrices" : "optimizer.decay=all"};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        ck_assert_int_eq(sd_config_set(g->config, settings[i]), SD_OK);
    snprintf(setting, sizeof setting, "optimizer.name=%s", optimizer_name);
    ck_assert_int_eq(sd_config_set(g->config, setting), SD_OK);
    snprintf(setting, sizeof setting, "stochastic_depth.dropped_update=%s", dropped_update);
    ck_assert_int_eq(sd_config_set(g->config, setting), SD_OK);

    double *reference_losses;
    read_values(g->file, path, H5T_NATIVE_DOUBLE, sizeof(double), &reference_losses);
    hid_t dataset = H5Dopen2(g->file, path, H5P_DEFAULT);
    const double lr = read_attribute(dataset, "lr"), tolerance = curve_tolerance(g);
    H5Dclose(dataset);

    sd_optimizer *optimizer;
    ck_assert_int_eq(sd_optimizer_create(&g->config->optimizer, g->network, &optimizer), SD_OK);
    reset_weights(g);
    for (int step = 0; step < STEPS; step++) {
        const float *logits;
        double loss = train_pass(g, step, &logits);
        ck_assert_msg(fabs(loss - reference_losses[step]) <= tolerance * reference_losses[step],
                      "%s: loss of step %d is %.7g, PyTorch has %.7g, allowed relative error %.3g", path, step + 1,
                      loss, reference_losses[step], tolerance);
        sd_optimizer_step(optimizer, &g->plan, lr, (uint64_t)step + 1);
    }
    sd_optimizer_destroy(&optimizer);
    free(reference_losses);
}

/* What is compared: everything, with the definition of convolutions; the same without the curves; or, with the
 * algorithms that `auto`
 * takes, evaluation alone: their larger rounding errors flip ReLUs that are near their kink, and with them
 * gradients. */
typedef enum extent { WITH_CURVES, WITHOUT_CURVES, EVALUATION_WITH_AUTO } extent;

/* Reads what every file holds, and builds the network for passes of at most max_images (0: the batch). */
static golden open_golden(const char *name, sd_model_spec spec, const sd_kernels *kernels, int max_images) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.h5", SD_GOLDEN_DIR, name);
    golden g = {.file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT)};
    ck_assert_msg(g.file >= 0, "%s cannot be opened", path);
    g.seed = (uint32_t)read_attribute(g.file, "seed");
    g.first_batch = (uint32_t)read_attribute(g.file, "first_batch");
    g.batch = (int)read_attribute(g.file, "batch");
    g.image_size = (int)read_attribute(g.file, "image_size");
    g.classes = (int)read_attribute(g.file, "classes");
    g.units = (int)read_attribute(g.file, "units");
    g.smoothing = read_attribute(g.file, "label_smoothing");
    if (!g.image_size) {
        g.sequence = (int)read_attribute(g.file, "sequence");
        g.vocabulary = (int)read_attribute(g.file, "vocabulary");
    }
    read_values(g.file, "rates", H5T_NATIVE_DOUBLE, sizeof(double), &g.drop.rate);
    g.drop.units = g.units;
    const size_t batch = (size_t)g.batch, pixels = (size_t)g.image_size * (size_t)g.image_size;
    g.images = malloc(batch * pixels * 3 * sizeof(float));
    g.tokens = malloc(batch * (size_t)g.sequence * sizeof(int32_t));
    g.lengths = malloc(batch * sizeof(int32_t));
    g.second = malloc(batch * sizeof(int32_t));
    g.dlogits = malloc(batch * (size_t)g.classes * sizeof(float));
    g.losses = malloc(batch * sizeof(float));
    g.labels = malloc(batch * sizeof(int32_t));
    g.ranks = malloc(batch * sizeof(int32_t));
    g.config = malloc(sizeof *g.config);
    sd_config_init(g.config);
    spec.image_size = g.image_size;
    spec.sequence = g.sequence;
    spec.vocabulary = g.vocabulary;
    spec.classes = g.classes;
    ck_assert_msg(sd_model_create(&spec, kernels, max_images ? max_images : g.batch, &g.network) == SD_OK, "%s",
                  sd_error_message());
    ck_assert_int_eq(sd_network_n_units(g.network), g.units);
    const sd_drop_schedule schedule = spec.unit == SD_UNIT_BLOCK ? SD_DROP_CONSTANT : SD_DROP_LINEAR;
    for (int i = 0; i < g.units && g.image_size; i++) { /* of texts they are 0 */
        int depth = sd_network_unit(g.network, i)->depth, blocks = sd_network_blocks(g.network);
        ck_assert_double_eq_tol(sd_drop_rate(schedule, 0.5, depth, blocks), g.drop.rate[i], 1e-15);
    }
    ck_assert_int_eq(sd_drop_plan_create(g.units, &g.plan), SD_OK);
    return g;
}

static void close_golden(golden *g) {
    sd_drop_plan_free(&g->plan);
    sd_network_destroy(&g->network);
    free(g->plans);
    free(g->drop.rate);
    free(g->images);
    free(g->tokens);
    free(g->lengths);
    free(g->second);
    free(g->dlogits);
    free(g->losses);
    free(g->labels);
    free(g->ranks);
    free(g->config);
    H5Fclose(g->file);
}

static void check_convention(golden *g, sd_drop_scale scale, extent compared) {
    g->scale = sd_drop_scale_word(scale);
    g->drop.scale = scale;
    check_evaluation(g);
    if (compared == EVALUATION_WITH_AUTO)
        return;
    check_step(g, 0);
    if (compared == WITHOUT_CURVES)
        return;
    check_curve(g, "curve_sgd", "sgd", "decay_and_momentum");
    check_curve(g, "curve_adamw", "adamw", "decay_and_momentum");
    check_curve(g, "curve_sgd_freeze", "sgd", "freeze");
    check_curve(g, "curve_adamw_freeze", "adamw", "freeze");
}

static void read_plans(golden *g) {
    ck_assert_uint_eq(read_values(g->file, "plans", H5T_NATIVE_UCHAR, 1, &g->plans), (size_t)(STEPS * g->units));
}

static void check_model(const char *model, int patch_size, const sd_kernels *kernels, extent compared) {
    /* The goldens' ResNet-50 has the ImageNet stem at 64 pixels. */
    const sd_model_spec spec = {.name = model,
                                .patch_size = patch_size,
                                .convolution =
                                    compared == EVALUATION_WITH_AUTO ? SD_CONVOLUTION_AUTO : SD_CONVOLUTION_DIRECT,
                                .stem = !strcmp(model, "resnet50") ? SD_STEM_IMAGENET : SD_STEM_AUTO};
    golden g = open_golden(model, spec, kernels, 0);
    read_plans(&g);
    check_convention(&g, SD_DROP_SCALE_INFERENCE, compared);
    check_convention(&g, SD_DROP_SCALE_TRAINING, compared);
    close_golden(&g);
}

/* Whole blocks of a ViT are dropped, in one step all of them, and nothing is scaled. */
static void check_layerdrop(const sd_kernels *kernels, extent compared) {
    const sd_model_spec spec = {.name = "vit_tiny", .patch_size = 4, .unit = SD_UNIT_BLOCK};
    golden g = open_golden("layerdrop_vit_tiny", spec, kernels, 0);
    read_plans(&g);
    check_convention(&g, SD_DROP_SCALE_NONE, compared);
    close_golden(&g);
}

/* The steps' plans drop no layer, one, and all; the norms behind the sums are dropped with their layers. */
static void check_bert(const sd_kernels *kernels, extent compared) {
    static const char *const groups[] = {"none/step0", "none/step1", "none/step2"};
    golden g = open_golden("bert_L2_H128", (sd_model_spec){.name = "bert_L2_H128", .unit = SD_UNIT_BLOCK}, kernels, 0);
    read_plans(&g);
    for (int step = 0; step < 3; step++) {
        g.scale = groups[step];
        check_step(&g, step);
    }
    g.scale = "none";
    check_evaluation(&g);
    if (compared == WITH_CURVES)
        check_curve(&g, "curve_adamw", "adamw", "decay_and_momentum");
    close_golden(&g);
}

/* ---- decisions of ranks and samples ---- */

/* The plan of the batch, and the part of it that a rank's images see, from masks [units][batch]. */
static void set_masks(golden *g, const unsigned char *masks, int first, int images, sd_drop_part *part) {
    for (int unit = 0; unit < g->units; unit++) {
        const unsigned char *mask = masks + unit * g->batch;
        g->plan.images[unit] = 0;
        part->images[unit] = 0;
        for (int n = 0; n < g->batch; n++)
            g->plan.images[unit] += mask[n];
        for (int n = 0; n < images; n++)
            if (mask[first + n])
                part->places[unit * part->max_images + part->images[unit]++] = (uint32_t)n;
        g->plan.kept[unit] = g->plan.images[unit] > 0;
        g->plan.scale[unit] = (float)(1 / (1 - g->drop.rate[unit]));
    }
}

/* One step of a batch that some ranks (0: as many as the golden has) compute one after another, as they would side by
 * side: what each writes is added up. */
static void check_scope(const char *name, const char *model, int ranks, const sd_kernels *kernels) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.h5", SD_GOLDEN_DIR, name);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_msg(file >= 0, "%s cannot be opened", path);
    if (!ranks)
        ranks = (int)read_attribute(file, "ranks");
    const int each = (int)read_attribute(file, "batch") / ranks;
    H5Fclose(file);
    const sd_model_spec spec = {.name = model,
                                .patch_size = !strncmp(model, "vit", 3) ? 4 : 0,
                                .convolution = SD_CONVOLUTION_DIRECT,
                                .stem = !strcmp(model, "resnet50") ? SD_STEM_IMAGENET : SD_STEM_AUTO,
                                .gathers = true};
    golden g = open_golden(name, spec, kernels, each);
    g.scale = g.sequence ? "none" : "training";
    unsigned char *masks;
    ck_assert_uint_eq(read_values(g.file, "masks", H5T_NATIVE_UCHAR, 1, &masks), (size_t)(g.units * g.batch));
    sd_drop_part part;
    ck_assert_int_eq(sd_drop_part_create(g.units, each, &part), SD_OK);
    reset_weights(&g);
    make_batch(&g, 0);

    const size_t elems = sd_network_buffer_elems(g.network);
    float *gradients = sd_network_gradients(g.network), *sum = calloc(elems, sizeof *sum),
          *logits = malloc((size_t)(g.batch * g.classes) * sizeof *logits);
    double loss = 0;
    for (int rank = 0; rank < ranks; rank++) {
        const int first = rank * each;
        set_masks(&g, masks, first, each, &part);
        const sd_pass pass = {.images = each,
                              .training = true,
                              .plan = &g.plan,
                              .part = &part,
                              .batch_share = (float)each / (float)g.batch};
        memset(gradients, 0, elems * sizeof *gradients); /* a branch that none of these images keeps is not written */
        const sd_input input = input_from(&g, first);
        const float *mine = sd_network_forward(g.network, &pass, &input);
        memcpy(logits + first * g.classes, mine, (size_t)(each * g.classes) * sizeof *logits);
        kernels->cross_entropy_forward((size_t)each, g.classes, mine, &(sd_targets){.labels = g.labels + first},
                                       (float)g.smoothing, g.losses, g.ranks);
        for (int n = 0; n < each; n++)
            loss += g.losses[n] / g.batch;
        kernels->cross_entropy_backward((size_t)each, g.classes, mine, &(sd_targets){.labels = g.labels + first},
                                        (float)g.smoothing, 1.0f / (float)g.batch, g.dlogits);
        sd_network_backward(g.network, &pass, &input, g.dlogits, ignore_segment, NULL);
        for (size_t i = 0; i < elems; i++)
            sum[i] += gradients[i];
    }
    memcpy(gradients, sum, elems * sizeof *gradients);
    sd_network_update_statistics(g.network, &g.plan);
    expect_golden_floats(&g, "logits", logits, false);
    expect_golden_number(&g, "loss", loss);
    expect_statistics(&g);
    expect_gradients(&g, "grad", true);
    if (!strncmp(name, "rank_", 5)) { /* stochastic_depth.rank_divisor = kept */
        sd_gradients_divide_by_kept(g.network, &g.plan, (uint64_t)g.batch);
        expect_gradients(&g, "grad_kept", false);
    }
    sd_drop_part_free(&part);
    free(masks);
    free(sum);
    free(logits);
    close_golden(&g);
}

START_TEST(resnet20_equals_pytorch) { check_model("resnet20", 0, best_kernels(), WITH_CURVES); }
END_TEST

START_TEST(resnet50_equals_pytorch) { check_model("resnet50", 0, best_kernels(), WITH_CURVES); }
END_TEST

START_TEST(vit_tiny_equals_pytorch) { check_model("vit_tiny", 4, best_kernels(), WITH_CURVES); }
END_TEST

START_TEST(bert_equals_pytorch) { check_bert(best_kernels(), WITH_CURVES); }
END_TEST

START_TEST(layerdrop_equals_pytorch) { check_layerdrop(best_kernels(), WITH_CURVES); }
END_TEST

START_TEST(every_instruction_set_equals_pytorch) {
    check_bert(sd_kernels_at(_i), WITHOUT_CURVES);
    check_model("resnet20", 0, sd_kernels_at(_i), WITHOUT_CURVES);
    check_model("vit_tiny", 4, sd_kernels_at(_i), WITHOUT_CURVES);
    check_layerdrop(sd_kernels_at(_i), WITHOUT_CURVES);
}
END_TEST

/* Winograd's rounding errors are 11 times the definition's (tests/unit/test_convolution.c); those of float32 PyTorch,
 * at most 6e-7 here, times 11 are still below the smallest tolerance there is, 1e-4. */
START_TEST(transformed_convolutions_equal_pytorch) {
    check_model("resnet20", 0, sd_kernels_at(_i), EVALUATION_WITH_AUTO);
    check_model("resnet50", 0, sd_kernels_at(_i), EVALUATION_WITH_AUTO);
}
END_TEST

/* resnet20 at 4 pixels: the last stage has maps of 1x1, so that a rank's only sample is one value a channel. */
START_TEST(decisions_of_samples_equal_pytorch) {
    check_scope("sample_resnet20", "resnet20", 0, sd_kernels_at(_i));
    check_scope("sample_resnet20_4px", "resnet20", 0, sd_kernels_at(_i));
    check_scope("sample_vit_tiny", "vit_tiny", 0, sd_kernels_at(_i));
    check_scope("sample_bert_L2_H128", "bert_L2_H128", 0, sd_kernels_at(_i));
}
END_TEST

/* Images of a transformer do not meet, so that any number of ranks must do what PyTorch did on one. */
START_TEST(decisions_of_samples_on_other_ranks_equal_pytorch) {
    check_scope("sample_vit_tiny", "vit_tiny", 2, sd_kernels_at(_i));
    check_scope("sample_vit_tiny", "vit_tiny", 4, sd_kernels_at(_i));
    check_scope("sample_bert_L2_H128", "bert_L2_H128", 2, sd_kernels_at(_i));
}
END_TEST

/* Blocks with a projection whose branch all, some, one or none of a rank's images keep. */
START_TEST(decisions_of_samples_beside_projections_equal_pytorch) {
    check_scope("sample_resnet18", "resnet18", 0, sd_kernels_at(_i));
    check_scope("sample_resnet50", "resnet50", 0, sd_kernels_at(_i));
}
END_TEST

START_TEST(decisions_of_ranks_equal_pytorch) {
    check_scope("rank_resnet20", "resnet20", 0, sd_kernels_at(_i));
    check_scope("rank_vit_tiny", "vit_tiny", 0, sd_kernels_at(_i));
}
END_TEST

int main(void) {
    int n_isa = 0;
    while (sd_kernels_at(n_isa))
        n_isa++;
    sd_kernels_set_threads(1);
    TCase *cases = tcase_create("pytorch");
    tcase_add_test(cases, resnet20_equals_pytorch);
    tcase_add_test(cases, vit_tiny_equals_pytorch);
    tcase_add_test(cases, bert_equals_pytorch);
    tcase_add_test(cases, layerdrop_equals_pytorch);
    tcase_add_test(cases, resnet50_equals_pytorch);
    tcase_add_loop_test(cases, every_instruction_set_equals_pytorch, 0, n_isa);
    tcase_add_loop_test(cases, transformed_convolutions_equal_pytorch, 1, n_isa);
    tcase_add_loop_test(cases, decisions_of_samples_equal_pytorch, 0, n_isa);
    tcase_add_loop_test(cases, decisions_of_samples_on_other_ranks_equal_pytorch, 0, n_isa);
    tcase_add_loop_test(cases, decisions_of_samples_beside_projections_equal_pytorch, 0, n_isa);
    tcase_add_loop_test(cases, decisions_of_ranks_equal_pytorch, 0, n_isa);
    return run_suite("golden", cases);
}
