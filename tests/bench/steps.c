/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain-bench steps: training steps as train/step.c does them, without loader, logs and other ranks. */
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/data.h"
#include "sdtrain/kernels.h"
#include "sdtrain/loss.h"
#include "sdtrain/models.h"
#include "sdtrain/optim.h"

enum { DEFAULT_IMAGE_SIZE = 32, DEFAULT_CLASSES = 10, WARM_UP_STEPS = 2 };
static const double LEARNING_RATE = 1e-4; /* small: what is timed shall not depend on whether training diverges */

typedef enum phase { PHASE_FORWARD, PHASE_LOSS, PHASE_BACKWARD, PHASE_OPTIMIZER, PHASE_WHOLE, PHASES } phase;
static const char *const phase_names[PHASES] = {"forward", "loss", "backward", "optimizer", "whole step"};

typedef struct trial {
    const sd_config *config;
    const sd_kernels *kernels;
    sd_network *network;
    sd_optimizer *optimizer;
    sd_drop_spec drop, no_drop; /* as configured; the same with all rates zero */
    sd_drop_plan plan;
    sd_drop_part part; /* with scope = rank or sample, all of one rank */
    int threads, images, image_size;
    sd_loss *loss;
    sd_loss_sums sums; /* of the last step */
    float *x;
    int32_t *labels;
    uint64_t step;
} trial;

/* What some steps took, and what part of the network's FLOPs their plans left out, on average. */
typedef struct series {
    double seconds[PHASES];
    double flops_saved;
} series;

/* ---- building ---- */

static int choose_threads(const sd_config *config) {
    return config->run.threads > 0 ? (int)config->run.threads : omp_get_max_threads(); /* which knows OMP_NUM_THREADS */
}

static sd_status build_network(trial *t) {
    const sd_config *config = t->config;
    int classes = config->data.dataset == SD_DATASET_CIFAR100 ? 100 : DEFAULT_CLASSES;
    if (config->model.classes > 0)
        classes = (int)config->model.classes;
    t->image_size = config->data.image_size > 0 ? (int)config->data.image_size : DEFAULT_IMAGE_SIZE;
    t->images = (int)config->train.batch_size;
    const sd_model_spec spec = {.name = config->model.name,
                                .image_size = t->image_size,
                                .classes = classes,
                                .stem = config->model.stem,
                                .patch_size = (int)config->model.patch_size,
                                .dropout = config->model.dropout,
                                .zero_init_residual = config->model.zero_init_residual,
                                .unit = config->stochastic_depth.unit,
                                .gathers = config->stochastic_depth.scope == SD_DROP_SCOPE_SAMPLE};
    SD_TRY(sd_config_locate(config, sd_model_create(&spec, t->kernels, t->images, &t->network)));
    if (sd_network_batchnorm_values(t->network) * (size_t)t->images == 1)
        return sd_config_fail(config, "train.batch_size", "one image leaves batch norm one value a channel");
    sd_network_initialise(t->network, (uint32_t)config->run.seed);
    return sd_optimizer_create(&config->optimizer, t->network, &t->optimizer);
}

static sd_status build_specs(trial *t) {
    const sd_config *config = t->config;
    const int units = sd_network_n_units(t->network);
    t->drop = t->no_drop = (sd_drop_spec){.seed = (uint32_t)config->run.seed,
                                          .scope = config->stochastic_depth.scope,
                                          .scale = config->stochastic_depth.scale,
                                          .ranks = 1,
                                          .units = units};
    SD_TRY(sd_alloc(&t->drop.rate, (size_t)units, sizeof *t->drop.rate));
    SD_TRY(sd_alloc(&t->drop.threshold, (size_t)units, sizeof *t->drop.threshold));
    SD_TRY(sd_alloc(&t->no_drop.rate, (size_t)units, sizeof *t->no_drop.rate));
    SD_TRY(sd_config_drop_rates(config, t->network, t->drop.rate, t->drop.threshold));
    t->drop.min_kept = (int)config->stochastic_depth.min_kept;
    SD_TRY(sd_drop_part_create(units, t->images, &t->part));
    return sd_drop_plan_create(units, &t->plan);
}

static sd_status make_batch(trial *t) {
    const size_t images = (size_t)t->images, pixels = (size_t)t->image_size * (size_t)t->image_size;
    const int classes = sd_network_classes(t->network);
    SD_TRY(sd_alloc_floats(&t->x, images * pixels * SD_CHANNELS));
    SD_TRY(sd_loss_create(&(sd_loss_spec){.smoothing = (float)t->config->train.label_smoothing}, t->kernels, t->images,
                          classes, &t->loss));
    SD_TRY(sd_alloc(&t->labels, images, sizeof *t->labels));
    bench_fill(t->x, images * pixels * SD_CHANNELS);
    for (int i = 0; i < t->images; i++)
        t->labels[i] = i % classes;
    return SD_OK;
}

static sd_status trial_open(trial *t, const sd_config *config) {
    *t = (trial){.config = config, .threads = choose_threads(config)};
    SD_TRY(sd_kernels_select(NULL, &t->kernels));
    sd_kernels_set_threads(t->threads);
    SD_TRY(build_network(t));
    SD_TRY(build_specs(t));
    return make_batch(t);
}

static void trial_close(trial *t) {
    sd_optimizer_destroy(&t->optimizer);
    sd_loss_destroy(&t->loss);
    sd_network_destroy(&t->network);
    sd_drop_plan_free(&t->plan);
    sd_drop_part_free(&t->part);
    free(t->drop.rate);
    free(t->drop.threshold);
    free(t->no_drop.rate);
    free(t->x);
    free(t->labels);
}

/* ---- steps ---- */

static void ignore_segment(void *context, int segment) { (void)context, (void)segment; }

/* Adds the time since *now to a phase and moves *now on. */
static void charge(series *s, phase which, double *now) {
    const double then = *now;
    *now = sd_clock_seconds();
    s->seconds[which] += *now - then;
    s->seconds[PHASE_WHOLE] += *now - then;
}

static double flops_saved(const trial *t) {
    double flops = 0;
    for (int i = 0; i < t->plan.units; i++)
        flops += (1 - (double)t->plan.images[i] / t->images) * sd_network_unit(t->network, i)->flops;
    return flops / sd_network_flops(t->network);
}

static void run_step(trial *t, const sd_drop_spec *drop, series *s) {
    const sd_targets targets = {.labels = t->labels};
    t->sums = (sd_loss_sums){0};
    const uint64_t step = ++t->step;
    double now = sd_clock_seconds();
    sd_drop_plan_draw(drop, step, (uint64_t)t->images, &t->plan);
    if (drop->scope != SD_DROP_SCOPE_GLOBAL)
        sd_drop_part_draw(drop, step, 0, (sd_range){0, (uint64_t)t->images}, &t->part);
    const sd_pass pass = {.images = t->images,
                          .training = true,
                          .plan = &t->plan,
                          .part = drop->scope == SD_DROP_SCOPE_GLOBAL ? NULL : &t->part,
                          .batch_share = 1,
                          .seed = drop->seed,
                          .step = step};
    const sd_input input = {.pixels = t->x};
    const float *logits = sd_network_forward(t->network, &pass, &input);
    charge(s, PHASE_FORWARD, &now);
    sd_loss_forward(t->loss, t->images, logits, &targets, &t->sums);
    float *dlogits = sd_loss_backward(t->loss, t->images, logits, &targets, (uint64_t)t->images);
    charge(s, PHASE_LOSS, &now);
    sd_network_backward(t->network, &pass, &input, dlogits, ignore_segment, NULL);
    charge(s, PHASE_BACKWARD, &now);
    sd_network_update_statistics(t->network, &t->plan);
    sd_optimizer_step(t->optimizer, &t->plan, LEARNING_RATE, step);
    charge(s, PHASE_OPTIMIZER, &now);
    s->flops_saved += flops_saved(t);
}

static sd_status run_series(trial *t, const sd_drop_spec *drop, int steps, series *s) {
    *s = (series){0};
    for (int i = 0; i < steps; i++)
        run_step(t, drop, s);
    s->flops_saved /= steps;
    if (!isfinite(t->sums.loss))
        return sd_fail(SD_ERR_DIVERGED, "the loss of step %llu is not finite: its time says nothing",
                       (unsigned long long)t->step);
    return SD_OK;
}

/* ---- reports ---- */

static void print_speeds(const trial *t, const char *title, const series *all, int rounds, int steps, double *values) {
    printf("\n%-26s%10s%10s%10s\n", title, "images/s", "lowest", "highest");
    for (phase which = 0; which < PHASES; which++) {
        for (int i = 0; i < rounds; i++)
            values[i] = t->images * steps / all[i].seconds[which];
        const bench_spread spread = bench_spread_of(values, rounds);
        printf("  %-24s%10.1f%10.1f%10.1f\n", phase_names[which], spread.median, spread.lowest, spread.highest);
    }
}

/* One phase: over all pairs together, then pair by pair. A pair whose plans dropped nothing has no ratio. */
static void print_saving(phase which, const series *without, const series *with, int rounds, double *values) {
    double seconds_without = 0, seconds_with = 0, flops = 0;
    int n = 0;
    for (int i = 0; i < rounds; i++) {
        const double time_saved = 1 - with[i].seconds[which] / without[i].seconds[which];
        seconds_without += without[i].seconds[which];
        seconds_with += with[i].seconds[which];
        flops += with[i].flops_saved / rounds;
        if (with[i].flops_saved > 0)
            values[n++] = time_saved / with[i].flops_saved;
    }
    const double time_saved = 1 - seconds_with / seconds_without;
    printf("  %-16s%8.2f %%%10.2f %%", phase_names[which], 100 * time_saved, 100 * flops);
    if (n == 0) {
        printf("   no branch was dropped\n");
        return;
    }
    const bench_spread spread = bench_spread_of(values, n);
    printf("%12.3f%12.3f%10.3f%10.3f\n", time_saved / flops, spread.median, spread.lowest, spread.highest);
}

static void print_savings(const series *without, const series *with, int rounds, double *values) {
    printf("\ntime saved / FLOPs saved\n%-18s%32s%35s\n", "", "---- all pairs together ----", "---- pair by pair ----");
    printf("%-18s%10s%12s%12s%12s%10s%10s\n", "", "time", "FLOPs", "ratio", "median", "lowest", "highest");
    print_saving(PHASE_FORWARD, without, with, rounds, values);
    print_saving(PHASE_BACKWARD, without, with, rounds, values);
    print_saving(PHASE_WHOLE, without, with, rounds, values);
}

static bool drops(const trial *t) {
    for (int i = 0; i < t->drop.units; i++)
        if (t->drop.rate[i] > 0)
            return true;
    return false;
}

/* without, with: [rounds] of series; values: [rounds], scratch. */
static sd_status measure(trial *t, int rounds, int steps, series *without, series *with, double *values) {
    const bool is_paired = drops(t);
    printf("%s, %d images of %d pixels, %d classes, %s kernels, %d thread%s; %d rounds of %d steps%s\n",
           t->config->model.name, t->images, t->image_size, sd_network_classes(t->network), t->kernels->name,
           t->threads, t->threads == 1 ? "" : "s", rounds, steps,
           is_paired ? " without dropping, then as many with drawn plans" : "");
    SD_TRY(run_series(t, &t->no_drop, WARM_UP_STEPS, without));
    for (int i = 0; i < rounds; i++) {
        SD_TRY(run_series(t, &t->no_drop, steps, &without[i]));
        if (is_paired)
            SD_TRY(run_series(t, &t->drop, steps, &with[i]));
    }
    print_speeds(t, is_paired ? "nothing dropped" : "", without, rounds, steps, values);
    if (is_paired) {
        print_speeds(t, "drawn plans", with, rounds, steps, values);
        print_savings(without, with, rounds, values);
    }
    return SD_OK;
}

sd_status bench_steps(const sd_config *config, int rounds, int steps) {
    trial t;
    series *without = NULL, *with = NULL;
    double *values = NULL;
    sd_status status;
    SD_TRY_CLEANUP(trial_open(&t, config));
    SD_TRY_CLEANUP(sd_alloc(&without, (size_t)rounds, sizeof *without));
    SD_TRY_CLEANUP(sd_alloc(&with, (size_t)rounds, sizeof *with));
    SD_TRY_CLEANUP(sd_alloc(&values, (size_t)rounds, sizeof *values));
    status = measure(&t, rounds, steps, without, with, values);
cleanup:
    free(without);
    free(with);
    free(values);
    trial_close(&t);
    return status;
}
