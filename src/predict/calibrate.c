/* SPDX-License-Identifier: Apache-2.0 */
/* What a step costs on this machine: passes of the network itself, on made-up images, with all branches and with none,
 * at two numbers of images. All ranks measure at once, so that they share memory and caches as in training. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/predict.h"

enum { SIZES = 2, PLANS = 2, ALL = 0, NONE = 1 }; /* plans: all branches are computed; none */
enum { MIN_ROUNDS = 3, MAX_ROUNDS = 15 };
static const double ROUNDS_SECONDS = 8, PASS_SECONDS = 1; /* a round is about three passes of the larger size */
static const double SIZE_RATIO = 4;
static const double LEARNING_RATE = 1e-6; /* small: what is timed shall not depend on whether training diverges */

/* What is timed of a pass: forward with the loss, the optimizer, then backward segment by segment. */
enum { FORWARD, OPTIMIZER, BACKWARD };

typedef struct bench {
    const sd_calibration_spec *spec;
    sd_drop_plan plan[PLANS];
    int images[SIZES];
    int quantities, rounds;
    uint64_t step;
    float *x;
    int32_t *labels;
    double *samples; /* [SIZES][PLANS][quantities][MAX_ROUNDS] */
    double *now;     /* the pass under way: [quantities] */
    double clock;
} bench;

static void bench_free(bench *b) {
    for (int i = 0; i < PLANS; i++)
        sd_drop_plan_free(&b->plan[i]);
    free(b->samples);
    free(b->now);
}

static sd_status bench_create(const sd_calibration_spec *spec, bench *b) {
    const int units = sd_network_n_units(spec->network);
    *b = (bench){.spec = spec, .quantities = BACKWARD + sd_network_n_segments(spec->network)};
    for (int p = 0; p < PLANS; p++) {
        SD_TRY(sd_drop_plan_create(units, &b->plan[p]));
        for (int i = 0; i < units; i++) {
            b->plan[p].kept[i] = p == ALL;
            b->plan[p].scale[i] = 1;
        }
        b->plan[p].kept_units = p == ALL ? units : 0;
    }
    SD_TRY(sd_alloc(&b->samples, (size_t)SIZES * PLANS * (size_t)b->quantities * MAX_ROUNDS, sizeof *b->samples));
    return sd_alloc(&b->now, (size_t)b->quantities, sizeof *b->now);
}

/* ---- passes ---- */

static void beat(const bench *b, const char *doing, double allowed_seconds) {
    if (b->spec->beat)
        b->spec->beat(doing, allowed_seconds);
}

/* The time since the last reading goes to a quantity. */
static void charge(bench *b, int quantity) {
    const double now = sd_clock_seconds();
    b->now[quantity] += now - b->clock;
    b->clock = now;
}

static void segment_done(void *context, int segment) {
    beat(context, "timing a pass", 0);
    charge(context, BACKWARD + segment);
}

/* A step as train/step.c does it, without data, reduction and logs. Returns its seconds. */
static double pass(bench *b, int images, const sd_drop_plan *plan) {
    const sd_calibration_spec *spec = b->spec;
    const sd_targets targets = {.labels = spec->labels};
    sd_loss_sums sums = {0};
    beat(b, "timing a pass", 0);
    const double begin = b->clock = sd_clock_seconds();
    const sd_pass what = {
        .images = images, .training = true, .plan = plan, .batch_share = 1, .seed = spec->seed, .step = ++b->step};
    memset(b->now, 0, (size_t)b->quantities * sizeof *b->now);
    const float *logits = sd_network_forward(spec->network, &what, spec->input);
    sd_loss_forward(spec->loss, images, logits, &targets, &sums);
    float *dlogits = sd_loss_backward(spec->loss, images, logits, &targets, (uint64_t)images);
    charge(b, FORWARD);
    sd_network_backward(spec->network, &what, spec->input, dlogits, segment_done, b);
    b->clock = sd_clock_seconds();
    sd_network_update_statistics(spec->network, plan);
    sd_optimizer_step(spec->optimizer, plan, LEARNING_RATE, b->step);
    charge(b, OPTIMIZER);
    return b->clock - begin;
}

static double *samples_of(const bench *b, int size, int plan, int quantity) {
    return b->samples + (((size_t)size * PLANS + (size_t)plan) * (size_t)b->quantities + (size_t)quantity) * MAX_ROUNDS;
}

/* The largest size whose pass takes about PASS_SECONDS, and a fraction of it. */
static void choose_sizes(bench *b) {
    const int most = b->spec->max_images, least = b->spec->min_images;
    int images = most < 4 * least ? most : 4 * least;
    pass(b, images, &b->plan[ALL]); /* the first one touches memory for the first time */
    for (bool settled = false; !settled;) {
        const double affordable = images * PASS_SECONDS / pass(b, images, &b->plan[ALL]);
        const int next = affordable < most ? (int)affordable : most;
        settled = next <= 8 * images; /* a guess from far below is not trusted */
        images = !settled ? 8 * images : next > images ? next : images;
    }
    const int smaller = (int)(images / SIZE_RATIO);
    b->images[0] = images;
    b->images[1] = smaller > least ? smaller : least;
}

static void measure(bench *b) {
    pass(b, b->images[0], &b->plan[ALL]);
    const double begin = sd_clock_seconds();
    for (b->rounds = 0; b->rounds < MAX_ROUNDS; b->rounds++) {
        if (b->rounds >= MIN_ROUNDS && sd_clock_seconds() - begin > ROUNDS_SECONDS)
            break;
        for (int size = 0; size < SIZES; size++)
            for (int plan = 0; plan < PLANS; plan++) {
                pass(b, b->images[size], &b->plan[plan]);
                for (int q = 0; q < b->quantities; q++)
                    samples_of(b, size, plan, q)[b->rounds] = b->now[q];
            }
    }
}

/* ---- from samples to costs ---- */

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* Medians, averaged over ranks: [SIZES][PLANS][quantities]. Collective. */
static sd_status summarise(bench *b, double *medians) {
    const int n = SIZES * PLANS * b->quantities;
    for (int i = 0; i < n; i++)
        medians[i] = median(b->samples + (size_t)i * MAX_ROUNDS, b->rounds) / sd_comm_size(b->spec->comm);
    return sd_comm_sum(b->spec->comm, medians, 1, n);
}

static sd_cost cost_of(const bench *b, const double *medians, int plan, int quantity) {
    const double images[SIZES] = {b->images[0], b->images[1]};
    double seconds[SIZES];
    for (int size = 0; size < SIZES; size++)
        seconds[size] = medians[(size * PLANS + plan) * b->quantities + quantity];
    return sd_cost_fit(images, seconds);
}

static sd_cost part_of(sd_cost cost, sd_cost less, double share) {
    const double fixed = cost.fixed - less.fixed, per_image = cost.per_image - less.per_image;
    return (sd_cost){.fixed = fixed > 0 ? fixed * share : 0, .per_image = per_image > 0 ? per_image * share : 0};
}

/* What the forward pass of a branch costs beside those of the others: as its backward pass does, or, where some are
 * frozen and may have none, as its parameters. */
static double weight_of(const bench *b, const double *medians, int segment) {
    const sd_network *network = b->spec->network;
    return sd_network_trained(network) < sd_network_parameters(network)
               ? (double)sd_network_segment(network, segment)->elems
               : medians[ALL * b->quantities + BACKWARD + segment];
}

static size_t sent_elems(const sd_calibration_spec *spec, const sd_segment *segment) {
    const bool some = segment->row_elems > 0 && spec->touched_rows > 0;
    return some ? (size_t)(spec->touched_rows * (double)segment->row_elems) : segment->elems;
}

/* Forward is timed as a whole: its branches share the time that all of them cost by their weights. */
static void fill(const bench *b, const double *medians, sd_calibration *c) {
    const sd_network *network = b->spec->network;
    const sd_cost forward = cost_of(b, medians, ALL, FORWARD);
    double branches = 0;
    c->forward = cost_of(b, medians, NONE, FORWARD);
    c->optimizer = medians[ALL * b->quantities + OPTIMIZER];
    c->optimizer_left = medians[NONE * b->quantities + OPTIMIZER];
    for (int i = 0; i < c->segments; i++) {
        const sd_segment *segment = sd_network_segment(network, i);
        c->segment[i] = (sd_segment_cost){.unit = segment->unit,
                                          .frozen = segment->frozen,
                                          .elems = sent_elems(b->spec, segment),
                                          .backward = cost_of(b, medians, ALL, BACKWARD + i),
                                          .backward_left = cost_of(b, medians, NONE, BACKWARD + i)};
        branches += segment->unit >= 0 ? weight_of(b, medians, i) : 0;
    }
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (tensor->kind == SD_TENSOR_STATISTIC && !tensor->frozen)
            c->segment[tensor->segment].statistics_elems += tensor->elems;
    }
    for (int i = 0; i < c->segments; i++)
        if (c->segment[i].unit >= 0)
            c->segment[i].forward = part_of(forward, c->forward, weight_of(b, medians, i) / branches);
}

/* What reductions take of the processor; the mean over ranks. Collective. */
static sd_status measure_reductions(const sd_calibration_spec *spec, sd_calibration *c) {
    sd_wire_seconds wire = {0};
    double transfer = 0, add = 0;
    sd_status status = sd_measure_host(&transfer, &add);
    if (status == SD_OK && spec->bf16)
        status = sd_wire_measure(&wire);
    SD_TRY(sd_comm_agree(spec->comm, status));
    double sums[] = {transfer, add, wire.round, wire.add, wire.expand};
    SD_TRY(sd_comm_sum(spec->comm, sums, 1, sizeof sums / sizeof sums[0]));
    c->transfer_seconds_per_byte = sums[0] / c->ranks;
    c->add_seconds_per_byte = sums[1] / c->ranks;
    c->bf16_round_seconds_per_elem = sums[2] / c->ranks;
    c->bf16_add_seconds_per_elem = sums[3] / c->ranks;
    c->bf16_expand_seconds_per_elem = sums[4] / c->ranks;
    return SD_OK;
}

static sd_status calibrate(bench *b, sd_calibration *c) {
    const double begin = sd_clock_seconds();
    double *medians = NULL;
    sd_status status = sd_alloc(&medians, (size_t)SIZES * PLANS * (size_t)b->quantities, sizeof *medians);
    if (status == SD_OK)
        status = sd_alloc(&c->segment, (size_t)c->segments, sizeof *c->segment);
    SD_TRY_CLEANUP(sd_comm_agree(b->spec->comm, status));
    choose_sizes(b);
    beat(b, "waiting for the other ranks to have timed a pass", ROUNDS_SECONDS);
    SD_TRY_CLEANUP(sd_comm_broadcast(b->spec->comm, b->images, sizeof b->images)); /* and all begin together */
    measure(b);
    beat(b, "timing what reductions take of a processor", ROUNDS_SECONDS);
    SD_TRY_CLEANUP(measure_reductions(b->spec, c));
    SD_TRY_CLEANUP(summarise(b, medians));
    fill(b, medians, c);
    c->images[0] = b->images[0];
    c->images[1] = b->images[1];
    c->seconds = sd_clock_seconds() - begin;
cleanup:
    free(medians);
    return status;
}

sd_status sd_calibrate(const sd_calibration_spec *spec, sd_calibration *c) {
    bench b;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *c = (sd_calibration){.segments = sd_network_n_segments(spec->network),
                          .units = sd_network_n_units(spec->network),
                          .ranks = sd_comm_size(spec->comm),
                          .threads = spec->threads,
                          .processors = processors > 0 ? (int)processors : 1};
    sd_status status = sd_comm_agree(spec->comm, bench_create(spec, &b));
    if (status == SD_OK)
        status = calibrate(&b, c);
    bench_free(&b);
    return status;
}
