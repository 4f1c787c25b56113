/* SPDX-License-Identifier: Apache-2.0 */
/* The performance model: seconds of a training step on R ranks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/bucket.h"
#include "sdtrain/predict.h"

static double cost_at(sd_cost cost, double images) { return cost.fixed + cost.per_image * images; }

sd_cost sd_cost_fit(const double images[2], const double seconds[2]) {
    if (images[0] == images[1])
        return (sd_cost){.per_image = (seconds[0] + seconds[1]) / (images[0] + images[1])};
    const double slope = (seconds[1] - seconds[0]) / (images[1] - images[0]);
    if (slope < 0) /* noise: the time does not depend on images */
        return (sd_cost){.fixed = (seconds[0] + seconds[1]) / 2};
    const double fixed = seconds[0] - slope * images[0];
    if (fixed >= 0)
        return (sd_cost){.fixed = fixed, .per_image = slope};
    const int larger = images[1] > images[0]; /* the measurement with less relative noise */
    return (sd_cost){.per_image = seconds[larger] / images[larger]};
}

void sd_calibration_free(sd_calibration *c) {
    free(c->segment);
    c->segment = NULL;
}

/* ---- one reduction ---- */

/* The processor streams bytes while the wire carries them, so the slower of the two counts; additions come between
 * messages. */
static sd_allreduce price(const sd_calibration *c, const sd_cluster *k, sd_allreduce_kind kind, double messages,
                          double sent_bytes, double added_bytes) {
    const double add = added_bytes * (k->bf16 ? c->bf16_add_seconds_per_elem / (double)sd_wire_value_bytes(true)
                                              : c->add_seconds_per_byte);
    return (sd_allreduce){.kind = kind,
                          .seconds = messages * k->latency_seconds +
                                     sent_bytes * fmax(1 / k->link_bytes_per_s, c->transfer_seconds_per_byte) + add,
                          .processor_seconds = sent_bytes * c->transfer_seconds_per_byte + add};
}

/* lg P of the largest power of two P <= R. Halving and doubling fold the R - P other ranks into these, and unfold
 * them. */
static double log2_down(int ranks) { return floor(log2(ranks)); }
static double folded(int ranks) { return exp2(log2_down(ranks)) < ranks; }

sd_allreduce sd_allreduce_predict(const sd_calibration *c, const sd_cluster *k, double bytes, int ranks) {
    const double R = ranks, rounds = log2_down(ranks), P = exp2(rounds), odd = folded(ranks);
    if (ranks == 1)
        return (sd_allreduce){.kind = SD_ALLREDUCE_NONE};
    sd_allreduce best = price(c, k, SD_ALLREDUCE_HALVING, 2 * rounds + 3 * odd, (2 * (P - 1) / P + 2 * odd) * bytes,
                              ((P - 1) / P + odd / 2) * bytes);
    if (k->reproducible)
        return best;
    const sd_allreduce others[] = {
        price(c, k, SD_ALLREDUCE_RING, 2 * (R - 1), 2 * (R - 1) / R * bytes, (R - 1) / R * bytes),
        price(c, k, SD_ALLREDUCE_DOUBLING, rounds + 2 * odd, (rounds + 2 * odd) * bytes, (rounds + odd) * bytes),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].seconds < best.seconds)
            best = others[i];
    return best;
}

/* ---- computing ---- */

/* A step's plan, as this model sees it. */
typedef struct step_work {
    sd_drop_plan plan;
    sd_drop_part part; /* decisions of one rank, drawn for one image */
    double *images;    /* [units], number of a rank's images that keep the unit */
    double *done;      /* [segments], seconds from the step's begin until the slowest rank's backward has finished it */
} step_work;

static void step_work_free(step_work *work) {
    sd_drop_plan_free(&work->plan);
    sd_drop_part_free(&work->part);
    free(work->images);
    free(work->done);
}

static sd_status step_work_create(const sd_calibration *c, step_work *work) {
    *work = (step_work){0};
    SD_TRY(sd_drop_plan_create(c->units, &work->plan));
    SD_TRY(sd_drop_part_create(c->units, 1, &work->part));
    SD_TRY(sd_alloc(&work->images, (size_t)c->units, sizeof *work->images));
    return sd_alloc(&work->done, (size_t)c->segments, sizeof *work->done);
}

/* Backward seconds of a segment whose branch is kept by `computed` of a pass's images. */
static double backward_seconds(const sd_segment_cost *s, double computed, double images) {
    const double left = cost_at(s->backward_left, images);
    if (s->unit < 0)
        return cost_at(s->backward, images);
    return computed > 0 ? left + fmax(cost_at(s->backward, computed) - cost_at(s->backward_left, computed), 0) : left;
}

static bool is_kept(const sd_segment_cost *s, const sd_drop_plan *plan) { return s->unit < 0 || plan->kept[s->unit]; }

/* Adds one rank's passes: done = max(done, this rank's time). work->images: per pass. */
static void add_rank(const sd_calibration *c, const sd_cluster *k, int passes, double images, step_work *work) {
    double forward = cost_at(c->forward, images), backward = 0;
    for (int i = 0; i < c->segments; i++) {
        const sd_segment_cost *s = &c->segment[i];
        const double computed = s->unit < 0 ? images : work->images[s->unit];
        if (s->unit >= 0 && computed > 0)
            forward += cost_at(s->forward, computed);
        backward += backward_seconds(s, computed, images);
    }
    double now = passes * forward + (passes - 1) * backward; /* gradients are complete in the last pass */
    for (int i = 0; i < c->segments; i++) {
        const sd_segment_cost *s = &c->segment[i];
        now += backward_seconds(s, s->unit < 0 ? images : work->images[s->unit], images);
        if (k->bf16 && is_kept(s, &work->plan) && !s->frozen)
            now += (double)s->elems * c->bf16_round_seconds_per_elem;
        work->done[i] = fmax(work->done[i], now);
    }
}

enum { SAMPLE_IMAGES = 1024 }; /* with decisions per image, a sample of so many suffices */

/* Draws the plan of a step, and models the passes of all ranks. */
static void compute(const sd_calibration *c, const sd_cluster *k, const sd_drop_spec *drop, uint64_t step, int ranks,
                    int passes, double images, step_work *work) {
    uint64_t batch = (uint64_t)fmax(images * passes * ranks, 1);
    if (drop && drop->scope == SD_DROP_SCOPE_SAMPLE && batch > SAMPLE_IMAGES)
        batch = SAMPLE_IMAGES;
    memset(work->done, 0, (size_t)c->segments * sizeof *work->done);
    if (drop)
        sd_drop_plan_draw(drop, step, batch, &work->plan);
    for (int unit = 0; unit < c->units; unit++) {
        work->plan.kept[unit] = !drop || work->plan.kept[unit];
        work->images[unit] = drop ? images * (double)work->plan.images[unit] / (double)batch : images;
    }
    if (!drop || drop->scope != SD_DROP_SCOPE_RANK) {
        add_rank(c, k, passes, images, work);
        return;
    }
    for (int rank = 0; rank < ranks; rank++) {
        sd_drop_part_draw(drop, step, rank, (sd_range){0, 1}, &work->part);
        for (int unit = 0; unit < c->units; unit++)
            work->images[unit] = work->part.images[unit] ? images : 0;
        add_rank(c, k, passes, images, work);
    }
}

static double optimizer_seconds(const sd_calibration *c, const sd_drop_plan *plan) {
    double kept = 0, all = 0;
    for (int i = 0; i < c->segments; i++)
        if (c->segment[i].unit >= 0) {
            all += (double)c->segment[i].elems;
            kept += is_kept(&c->segment[i], plan) ? (double)c->segment[i].elems : 0;
        }
    return all > 0 ? c->optimizer_left + (c->optimizer - c->optimizer_left) * kept / all : c->optimizer;
}

/* ---- reducing ---- */

/* The wire beside the backward pass. `now` is wall time; `computed`, the time spent in backward, stands still while the
 * processor serves the wire. */
typedef struct timeline {
    const sd_calibration *calibration;
    const sd_cluster *cluster;
    int ranks;
    double backward_end; /* of `computed` */
    double now, computed;
    double communication, bytes[SD_ALLREDUCE_DOUBLING + 1]; /* bytes: per kind */
} timeline;

/* Reduces the next bucket, whose last gradient is complete when computed = ready. */
static void reduce(timeline *t, size_t elems, bool bf16, double ready) {
    const double bytes = (double)(elems * sd_wire_value_bytes(bf16)),
                 expand = bf16 ? (double)elems * t->calibration->bf16_expand_seconds_per_elem : 0;
    sd_cluster wire = *t->cluster;
    wire.bf16 = bf16;
    sd_allreduce cost = sd_allreduce_predict(t->calibration, &wire, bytes, t->ranks);
    cost.seconds += expand;
    cost.processor_seconds += expand;
    if (!t->cluster->overlap)
        ready = t->backward_end;
    if (t->computed < ready) { /* the wire is idle until then */
        t->now += ready - t->computed;
        t->computed = ready;
    }
    t->now += cost.seconds;
    if (t->cluster->overlap)
        t->computed = fmin(t->backward_end, t->computed + cost.seconds - cost.processor_seconds);
    t->communication += cost.seconds;
    t->bytes[cost.kind] += bytes;
}

/* Reduces all buckets of a step, as dist/reducer.c does. */
static void reduce_all(timeline *t, const step_work *work) {
    const sd_calibration *c = t->calibration;
    const bool bf16 = t->cluster->bf16;
    const size_t max_elems = t->cluster->bucket_bytes / sd_wire_value_bytes(bf16);
    size_t statistics_elems = 0, first_elem = 0;
    sd_bucket open = {0}, complete;
    for (int i = 0; bf16 && i < c->segments; i++)
        statistics_elems += is_kept(&c->segment[i], &work->plan) ? c->segment[i].statistics_elems : 0;
    if (statistics_elems > 0)
        reduce(t, statistics_elems, false, work->done[0]);
    for (int i = 0; i < c->segments; i++) {
        const sd_segment_cost *s = &c->segment[i];
        const bool is_sent = !s->frozen && (is_kept(s, &work->plan) || !t->cluster->skip_dropped);
        if (sd_bucket_add(&open, max_elems, (sd_bucket){first_elem, s->elems}, is_sent, &complete))
            reduce(t, complete.elems, bf16, work->done[i - 1]);
        first_elem += s->elems;
    }
    if (open.elems > 0)
        reduce(t, open.elems, bf16, t->backward_end);
}

static sd_allreduce_kind busiest(const double *bytes) {
    sd_allreduce_kind kind = SD_ALLREDUCE_NONE;
    for (int i = SD_ALLREDUCE_RING; i <= SD_ALLREDUCE_DOUBLING; i++)
        if (bytes[i] > bytes[kind])
            kind = (sd_allreduce_kind)i;
    return kind;
}

sd_status sd_step_predict(const sd_calibration *c, const sd_cluster *cluster, const sd_drop_spec *drop, int ranks,
                          int images, sd_step_seconds *mean) {
    sd_cluster k = *cluster;
    k.bf16 = cluster->bf16 && ranks > 1; /* one rank rounds nothing */
    const int passes = k.shards > ranks ? k.shards / ranks : 1, steps = drop ? SD_PREDICTION_STEPS : 1;
    /* The sums of loss and accuracy: few bytes, after backward. */
    const double sum_of_losses = (log2_down(ranks) + 2 * folded(ranks)) * k.latency_seconds;
    double bytes[SD_ALLREDUCE_DOUBLING + 1] = {0};
    sd_drop_spec drawn = drop ? *drop : (sd_drop_spec){0};
    drawn.ranks = ranks;
    step_work work;
    sd_status status = step_work_create(c, &work);
    *mean = (sd_step_seconds){0};
    for (int step = 1; status == SD_OK && step <= steps; step++) {
        compute(c, &k, drop ? &drawn : NULL, (uint64_t)step, ranks, passes, (double)images / passes, &work);
        const double optimizer = optimizer_seconds(c, &work.plan);
        timeline t = {.calibration = c, .cluster = &k, .ranks = ranks, .backward_end = work.done[c->segments - 1]};
        if (ranks > 1)
            reduce_all(&t, &work);
        const double after_backward = t.now - t.computed + sum_of_losses; /* as `computed` ends at backward_end */
        mean->compute += (t.backward_end + optimizer) / steps;
        mean->communication += (t.communication + sum_of_losses) / steps;
        mean->exposed += after_backward / steps;
        for (int i = 0; i <= SD_ALLREDUCE_DOUBLING; i++)
            bytes[i] += t.bytes[i];
    }
    mean->step = mean->compute + mean->exposed;
    mean->kind = busiest(bytes);
    step_work_free(&work);
    return status;
}
