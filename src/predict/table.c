/* SPDX-License-Identifier: Apache-2.0 */
/* The model for each number of ranks, for people. */
#include "sdtrain/predict.h"

static const char *const kind_names[] = {
    [SD_ALLREDUCE_NONE] = "none",
    [SD_ALLREDUCE_RING] = "ring",
    [SD_ALLREDUCE_HALVING] = "halving",
    [SD_ALLREDUCE_DOUBLING] = "doubling",
};

/* A table: rows are numbers of ranks. */
typedef struct table {
    const sd_prediction *p;
    bool shared; /* strong scaling: the global batch is constant; else weak: images per rank are */
    bool drops;
} table;

static uint64_t batch_images(const table *t, int ranks) {
    return t->shared ? t->p->batch_images : t->p->rank_images * (uint64_t)ranks;
}

static int rank_images(const table *t, int ranks) {
    return (int)((batch_images(t, ranks) + (uint64_t)ranks - 1) / (uint64_t)ranks);
}

static sd_status predict(const table *t, const sd_drop_spec *drop, int ranks, sd_step_seconds *seconds) {
    return sd_step_predict(t->p->calibration, t->p->cluster, drop, ranks, rank_images(t, ranks), seconds);
}

/* Prints the columns of one kind of step. alone: the step on one rank. */
static void print_columns(FILE *to, const table *t, int ranks, const sd_step_seconds *s, const sd_step_seconds *alone) {
    const double speed = (double)batch_images(t, ranks) / s->step,
                 speed_alone = (double)batch_images(t, 1) / alone->step;
    fprintf(to, "  %8.2f %8.2f %8.2f %8.2f %9.1f %6.1f %%", 1e3 * s->compute, 1e3 * s->communication, 1e3 * s->exposed,
            1e3 * s->step, speed, 100 * speed / (ranks * speed_alone));
}

/* The reason why a step is not possible on `ranks` ranks; NULL if it is. */
static const char *obstacle(const table *t, int ranks) {
    const int shards = t->p->cluster->shards, passes = shards > 0 ? shards : ranks;
    if (shards > 0 && shards % ranks != 0)
        return "not possible: the number of ranks does not divide communication.shards";
    if (batch_images(t, ranks) / (uint64_t)passes >= t->p->min_shard_images)
        return NULL;
    return t->p->min_shard_images > 1 ? "not possible: batch norm needs two images in a pass"
                                      : "not possible: less than one image a rank";
}

static sd_status print_row(FILE *to, const table *t, int ranks, const sd_step_seconds alone[2]) {
    const sd_calibration *c = t->p->calibration;
    sd_step_seconds full, dropped;
    fprintf(to, "%6d  ", ranks);
    if (obstacle(t, ranks)) {
        fprintf(to, "%s\n", obstacle(t, ranks));
        return SD_OK;
    }
    SD_TRY(predict(t, NULL, ranks, &full));
    fprintf(to, "%6d  %-8s", rank_images(t, ranks), kind_names[full.kind]);
    print_columns(to, t, ranks, &full, &alone[0]);
    if (t->drops) {
        SD_TRY(predict(t, t->p->drop, ranks, &dropped));
        print_columns(to, t, ranks, &dropped, &alone[1]);
        fprintf(to, " %6.1f %%", 100 * (1 - dropped.step / full.step));
    }
    fprintf(to, "%s%s\n", ranks * c->threads > c->processors ? "  extrapolation" : "",
            batch_images(t, ranks) > t->p->train_images ? "  (more than the training images)" : "");
    return SD_OK;
}

static sd_status print_table(FILE *to, const table *t) {
    static const char columns[] = "   compute     comm  exposed     step  images/s     eff.";
    sd_step_seconds alone[2];
    SD_TRY(predict(t, NULL, 1, &alone[0]));
    SD_TRY(predict(t, t->p->drop, 1, &alone[1]));
    fprintf(to, "\n%llu images a %s\n", (unsigned long long)(t->shared ? t->p->batch_images : t->p->rank_images),
            t->shared ? "step, shared by all ranks (strong scaling)"
                      : "rank, as now: the batch grows with the ranks (weak scaling)");
    if (t->drops)
        fprintf(to, "%24s%-56s%s\n", "", "  |-- every branch computed", "  |-- stochastic depth as configured");
    fprintf(to, " ranks  images  reduced ");
    fprintf(to, "%s%s%s\n", columns, t->drops ? columns : "", t->drops ? "    saved" : "");
    for (int i = 0; i < t->p->n_ranks; i++)
        SD_TRY(print_row(to, t, t->p->ranks[i], alone));
    return SD_OK;
}

static void print_assumptions(FILE *to, const sd_prediction *p) {
    const sd_calibration *c = p->calibration;
    const sd_cluster *k = p->cluster;
    fprintf(
        to,
        "\nprediction, from %.1f s of calibration on this machine (%d rank%s at once, %d thread%s each, %.0f and %.0f images "
        "a pass):\n",
        c->seconds, c->ranks, c->ranks == 1 ? "" : "s", c->threads, c->threads == 1 ? "" : "s", c->images[0],
        c->images[1]);
    fprintf(
        to,
        "  link       %g Gbit/s for each rank (--link-gbit), %.4g MB/s of it payload; ranks behind one link have a part each; "
        "latency %g us (--latency-us)\n",
        p->link_gbit, k->link_bytes_per_s * 1e-6, p->latency_us);
    fprintf(
        to,
        "  compute    fixed + per image, measured segment by segment; a dropped branch costs nothing; mean over the plans "
        "of %d steps\n",
        SD_PREDICTION_STEPS);
    fprintf(to,
            "  reduction  of m bytes over R ranks at G bytes/s and latency U: %shalving 2 lg R U + 2 (R-1)/R m/G%s\n",
            k->reproducible ? "" : "the cheapest of ring 2 (R-1) (U + m/(R G)), ",
            k->reproducible ? "" : ", doubling lg R (U + m/G)");
    fprintf(to, "  processor  %.2f ns a byte sent and received, %.2f ns a byte added: taken from computing\n",
            c->transfer_seconds_per_byte * 1e9, c->add_seconds_per_byte * 1e9);
    if (k->bf16)
        fprintf(
            to,
            "  wire       bf16, 2 bytes a value: %.2f ns to round one while computing, %.2f ns to add, %.2f ns to expand; "
            "batch statistics go first, as floats\n",
            c->bf16_round_seconds_per_elem * 1e9, c->bf16_add_seconds_per_elem * 1e9,
            c->bf16_expand_seconds_per_elem * 1e9);
    fprintf(to, "  step       forward + backward + optimizer (compute) + exposed; buckets of up to %zu bytes %s\n",
            k->bucket_bytes,
            k->overlap ? "are reduced one after another while earlier blocks compute" : "are reduced after backward");
    fprintf(to, "  efficiency images/s, of R times those of one rank in the same table\n");
    fprintf(
        to,
        "  not in it  ranks that are slower than others (jitter), shared switches, reading images, evaluation, logs, "
        "checkpoints\n");
    fprintf(
        to,
        "extrapolation: more threads than the %d processors here; measured steps are what to compare the other rows "
        "with. In ms:\n",
        c->processors);
}

sd_status sd_prediction_print(FILE *to, const sd_prediction *p) {
    table t = {.p = p, .shared = true};
    for (int i = 0; i < p->drop->units; i++)
        t.drops = t.drops || p->drop->rate[i] > 0;
    print_assumptions(to, p);
    SD_TRY(print_table(to, &t));
    t.shared = false;
    return print_table(to, &t);
}
