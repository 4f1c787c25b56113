/* SPDX-License-Identifier: Apache-2.0 */
/* predict/model.c against hand-computed steps of a network of three segments:
 *
 *     head (1 s, 100 bytes) | branch (2 s, 200 bytes; dropped 0.25 s) | stem (3 s, 4 bytes)
 *     forward 1 s, branch 0.5 s
 *
 * and a wire of 100 bytes/s without latency, so that m bytes over two ranks take m/100 s. */
#include "../support.h"

static const double EXACT = 1e-9; /* figures below have few digits; sums of a few doubles */

static sd_segment_cost segments[] = {
    {.unit = -1, .elems = 25, .backward = {.fixed = 1}},
    {.unit = 0, .elems = 50, .forward = {.fixed = 0.5}, .backward = {.fixed = 2}, .backward_left = {.fixed = 0.25}},
    {.unit = -1, .elems = 1, .backward = {.fixed = 3}},
};
static const sd_calibration three = {
    .segments = 3, .units = 1, .segment = segments, .forward = {.fixed = 1}, .optimizer = 0.5, .optimizer_left = 0.2};
/* All three segments by themselves: none fits beside another. */
static const sd_cluster wire = {.link_bytes_per_s = 100, .bucket_bytes = 100, .skip_dropped = true, .overlap = true};

static sd_step_seconds step_of(const sd_calibration *c, const sd_cluster *k, const sd_drop_spec *drop, int ranks,
                               int images) {
    sd_step_seconds seconds;
    expect_ok(sd_step_predict(c, k, drop, ranks, images, &seconds));
    return seconds;
}

static void expect_step(sd_step_seconds s, double compute, double communication, double exposed) {
    expect_number("compute", s.compute, compute, EXACT);
    expect_number("communication", s.communication, communication, EXACT);
    expect_number("exposed", s.exposed, exposed, EXACT);
    expect_number("step", s.step, compute + exposed, EXACT);
}

static void expect_reduction(sd_allreduce r, sd_allreduce_kind kind, double seconds, double processor_seconds) {
    expect((int)r.kind == (int)kind, "kind %d, not %d", (int)r.kind, (int)kind);
    expect_number("seconds", r.seconds, seconds, EXACT);
    expect_number("processor's seconds", r.processor_seconds, processor_seconds, EXACT);
}

/* ---- costs ---- */

START_TEST(a_cost_is_the_line_through_two_sizes) {
    const sd_cost cost = sd_cost_fit((double[]){64, 16}, (double[]){7.4, 2.6});
    expect_number("fixed", cost.fixed, 1, EXACT);
    expect_number("per image", cost.per_image, 0.1, EXACT);
}
END_TEST

START_TEST(no_part_of_a_cost_is_negative) {
    sd_cost cost = sd_cost_fit((double[]){64, 16}, (double[]){6.4, 1}); /* the line meets -0.8 */
    expect_number("fixed", cost.fixed, 0, 0);
    expect_number("per image", cost.per_image, 0.1, EXACT); /* right where the most images are */
    cost = sd_cost_fit((double[]){64, 16}, (double[]){1, 3});
    expect_number("fixed", cost.fixed, 2, EXACT);
    expect_number("per image", cost.per_image, 0, 0);
    cost = sd_cost_fit((double[]){4, 4}, (double[]){1, 3}); /* one size tells no fixed part */
    expect_number("fixed", cost.fixed, 0, 0);
    expect_number("per image", cost.per_image, 0.5, EXACT);
}
END_TEST

/* ---- a reduction ---- */

START_TEST(one_rank_sends_nothing) {
    expect_reduction(sd_allreduce_predict(&three, &wire, 1e9, 1), SD_ALLREDUCE_NONE, 0, 0);
    const sd_step_seconds s = step_of(&three, &wire, NULL, 1, 8);
    expect_step(s, 1 + 0.5 + 1 + 2 + 3 + 0.5, 0, 0);
    ck_assert_int_eq((int)s.kind, SD_ALLREDUCE_NONE);
}
END_TEST

START_TEST(few_bytes_go_by_doubling) {
    const sd_cluster far = {.link_bytes_per_s = 1e9, .latency_seconds = 1e-3};
    expect_reduction(sd_allreduce_predict(&three, &far, 1000, 2), SD_ALLREDUCE_DOUBLING, 1e-3 + 1e-6, 0);
    expect_reduction(sd_allreduce_predict(&three, &far, 1000, 4096), SD_ALLREDUCE_DOUBLING, 12 * (1e-3 + 1e-6), 0);
    expect_reduction(sd_allreduce_predict(&three, &far, 1000, 6), SD_ALLREDUCE_DOUBLING, 4 * (1e-3 + 1e-6), 0);
}
END_TEST

START_TEST(many_bytes_go_by_halving_or_around_a_ring) {
    const sd_cluster near = {.link_bytes_per_s = 1e9, .latency_seconds = 1e-6};
    expect_reduction(sd_allreduce_predict(&three, &near, 1e9, 8), SD_ALLREDUCE_HALVING, 6e-6 + 1.75, 0);
    expect_reduction(sd_allreduce_predict(&three, &near, 1e9, 3), SD_ALLREDUCE_RING, 4e-6 + 4.0 / 3, 0);
    sd_cluster reproducible = near;
    reproducible.reproducible = true;
    expect_reduction(sd_allreduce_predict(&three, &reproducible, 1e9, 3), SD_ALLREDUCE_HALVING, 5e-6 + 3, 0);
    expect_reduction(sd_allreduce_predict(&three, &reproducible, 1, 8), SD_ALLREDUCE_HALVING, 6e-6 + 1.75e-9, 0);
}
END_TEST

/* Copies overlap with the wire and count where they are slower; additions come on top. */
START_TEST(the_processor_has_its_part) {
    const sd_cluster near = {.link_bytes_per_s = 1e9, .reproducible = true};
    sd_calibration c = three;
    c.transfer_seconds_per_byte = 0.25e-9;
    c.add_seconds_per_byte = 0.1e-9;
    expect_reduction(sd_allreduce_predict(&c, &near, 1e9, 2), SD_ALLREDUCE_HALVING, 1 + 0.05, 0.25 + 0.05);
    c.transfer_seconds_per_byte = 2e-9;
    expect_reduction(sd_allreduce_predict(&c, &near, 1e9, 2), SD_ALLREDUCE_HALVING, 2 + 0.05, 2 + 0.05);
}
END_TEST

/* ---- a step: gradients are there after 2.5, 4.5 and 7.5 s ---- */

START_TEST(what_ends_before_backward_is_hidden) {
    const sd_step_seconds s = step_of(&three, &wire, NULL, 2, 8);
    expect_step(s, 8, 3.04, 0.04); /* 2.5 to 3.5, 4.5 to 6.5; the stem's bytes, which are ready last */
}
END_TEST

START_TEST(a_slow_wire_is_busy_from_the_first_bucket_on) {
    sd_cluster slow = wire;
    slow.link_bytes_per_s = 10;
    expect_step(step_of(&three, &slow, NULL, 2, 8), 8, 30.4, 2.5 + 30.4 - 7.5);
}
END_TEST

START_TEST(one_bucket_for_all_hides_nothing) {
    sd_cluster k = wire;
    k.bucket_bytes = 304;
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 3.04, 3.04);
    k.bucket_bytes = 303; /* head and branch; the stem */
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 3.04, 0.04);
    k.overlap = false;
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 3.04, 3.04);
}
END_TEST

START_TEST(work_for_the_wire_stops_computing) {
    sd_calibration c = three;
    c.transfer_seconds_per_byte = 0.005;
    /* Half of the wire's time is the processor's: the buckets of 1, 2 and 0.04 s take 1.52 s from backward. Backward,
     * without them at 2.5, 4.5, 7.5: 2.5 | 3.5 (has done 0.5 s of 2) 5.0 | 7.0 (1 s of 3) 9.0 | 9.04. */
    expect_step(step_of(&c, &wire, NULL, 2, 8), 8, 3.04, 1.54);
}
END_TEST

START_TEST(latency_counts_for_each_bucket_and_for_the_loss) {
    sd_cluster k = wire;
    k.latency_seconds = 0.125;
    const sd_step_seconds s = step_of(&three, &k, NULL, 2, 8); /* by doubling: one message */
    expect_step(s, 8, 3.04 + 3 * 0.125 + 0.125, 0.04 + 0.125 + 0.125);
    ck_assert_int_eq((int)s.kind, SD_ALLREDUCE_DOUBLING);
}
END_TEST

/* ---- bf16 on the wire: 50, 100 and 2 bytes ---- */

static sd_cluster words_on(sd_cluster k) {
    k.bf16 = true;
    return k;
}

START_TEST(words_take_half_the_bytes_and_share_buckets_by_their_own_size) {
    sd_cluster k = words_on(wire);
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 1.52, 0.02);
    k.bucket_bytes = 150; /* head and branch; the stem */
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 1.52, 0.02);
    k.bucket_bytes = 152;
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 1.52, 1.52);
    expect_step(step_of(&three, &k, NULL, 1, 8), 8, 0, 0);
}
END_TEST

START_TEST(statistics_are_sent_as_floats_before_the_words) {
    double always = 1;
    const sd_drop_spec drop = {.seed = 7, .units = 1, .rate = &always};
    const sd_cluster k = words_on(wire);
    segments[1].statistics_elems = 500; /* 20 s, from 2.5 on; then the three buckets */
    expect_step(step_of(&three, &k, NULL, 2, 8), 8, 21.52, 2.5 + 21.52 - 7.5);
    expect_step(step_of(&three, &k, &drop, 2, 8), 5.45, 0.52, 0.02); /* a dropped branch has none */
    expect_step(step_of(&three, &wire, NULL, 2, 8), 8, 3.04, 0.04);  /* with floats they are in the buckets */
}
END_TEST

START_TEST(rounding_is_computing_and_expanding_is_work_for_the_wire) {
    sd_calibration c = three;
    const sd_cluster k = words_on(wire);
    c.bf16_round_seconds_per_elem = 0.01; /* of 25, 50 and 1 values */
    expect_step(step_of(&c, &k, NULL, 2, 8), 8.76, 1.52, 0.02);
    expect_step(step_of(&c, &k, NULL, 1, 8), 8, 0, 0);
    expect_step(step_of(&c, &wire, NULL, 2, 8), 8, 3.04, 0.04);
    c.bf16_round_seconds_per_elem = 0;
    c.bf16_expand_seconds_per_elem = 0.01; /* 0.25, 0.5 and 0.01 s after each bucket, all taken from backward */
    expect_step(step_of(&c, &k, NULL, 2, 8), 8, 1.52 + 0.76, 0.02 + 0.76);
    c.bf16_expand_seconds_per_elem = 0;
    c.bf16_add_seconds_per_elem =
        0.01; /* by doubling, two ranks add each value once; by halving half of them: 0.38 s */
    expect_step(step_of(&c, &k, NULL, 2, 8), 8, 1.52 + 0.38, 0.02 + 0.38);
}
END_TEST

/* ---- dropped branches ---- */

static sd_drop_spec law_of(double *rate, sd_drop_scope scope) {
    return (sd_drop_spec){.seed = 7, .scope = scope, .units = 1, .rate = rate};
}

START_TEST(a_dropped_branch_costs_neither_time_nor_bytes) {
    double always = 1, never = 0;
    sd_drop_spec drop = law_of(&always, SD_DROP_SCOPE_GLOBAL);
    sd_cluster k = wire;
    k.bucket_bytes = 304; /* even so its neighbours are not adjacent */
    /* 1 forward, 1 head, 0.25 branch, 3 stem, 0.2 optimizer; the head's bytes go from 2 to 3. */
    expect_step(step_of(&three, &k, &drop, 2, 8), 5.45, 1.04, 0.04);
    k.skip_dropped = false;
    expect_step(step_of(&three, &k, &drop, 2, 8), 5.45, 3.04, 3.04);
    drop = law_of(&never, SD_DROP_SCOPE_GLOBAL);
    expect_step(step_of(&three, &wire, &drop, 2, 8), 8, 3.04, 0.04);
}
END_TEST

START_TEST(the_mean_is_over_the_plans_of_the_first_steps) {
    double rate = 0.3;
    const sd_drop_spec drop = law_of(&rate, SD_DROP_SCOPE_GLOBAL);
    sd_drop_plan plan;
    double kept = 0;
    expect_ok(sd_drop_plan_create(1, &plan));
    for (uint64_t step = 1; step <= SD_PREDICTION_STEPS; step++) {
        sd_drop_plan_draw(&drop, step, 16, &plan);
        kept += plan.kept[0] / (double)SD_PREDICTION_STEPS;
    }
    sd_drop_plan_free(&plan);
    expect(kept > 0.6 && kept < 0.8, "kept %g", kept);
    expect_step(step_of(&three, &wire, &drop, 2, 8), 5.45 + kept * (8 - 5.45), 1.04 + kept * 2, 0.04);
}
END_TEST

START_TEST(ranks_with_decisions_of_their_own_wait_for_the_slowest) {
    double rate = 0.5;
    const sd_drop_spec by_rank = law_of(&rate, SD_DROP_SCOPE_RANK), global = law_of(&rate, SD_DROP_SCOPE_GLOBAL);
    /* Of 64 ranks there is always one that keeps the branch. */
    sd_cluster fast = wire;
    fast.link_bytes_per_s = 1e12;
    expect_number("compute", step_of(&three, &fast, &by_rank, 64, 8).compute, 8, EXACT);
    expect_number("bytes", step_of(&three, &wire, &by_rank, 64, 8).communication,
                  step_of(&three, &wire, NULL, 64, 8).communication, EXACT);
    ck_assert_double_lt(step_of(&three, &fast, &global, 64, 8).compute, 7.5);
}
END_TEST

START_TEST(with_decisions_by_image_a_branch_costs_its_share) {
    double rate = 0.25;
    const sd_drop_spec drop = law_of(&rate, SD_DROP_SCOPE_SAMPLE);
    segments[1].backward = (sd_cost){.fixed = 0.25, .per_image = 1};
    segments[1].forward = (sd_cost){.per_image = 0.5};
    const double full = step_of(&three, &wire, NULL, 1024, 8).compute,
                 part = step_of(&three, &wire, &drop, 1024, 8).compute;
    /* 1024 images of 200 steps: a standard deviation of 0.1 % of the share. */
    expect_number("saved", full - part, 0.25 * 8 * (1 + 0.5), 0.25 * 8 * (1 + 0.5) * 0.01);
}
END_TEST

START_TEST(a_rank_with_many_shards_computes_one_after_another) {
    sd_cluster k = wire;
    k.shards = 4;
    segments[2].backward = (sd_cost){.fixed = 2, .per_image = 0.125}; /* 3 s for 8 images */
    /* Two passes of 4 images: twice the fixed parts. The wire is used beside the last one. */
    expect_step(step_of(&three, &k, NULL, 2, 8), 2 * (1 + 0.5 + 1 + 2 + 2.5) + 0.5, 3.04, 0.04);
    expect_step(step_of(&three, &k, NULL, 4, 8), 8, 1.5 * 3.04, 1.5 * 0.04); /* one pass */
}
END_TEST

/* ---- directions ---- */

START_TEST(more_of_what_is_slow_is_never_faster) {
    double rate = 0.5;
    const sd_drop_spec drop = law_of(&rate, SD_DROP_SCOPE_GLOBAL);
    double before = 0;
    sd_cluster k = {.link_bytes_per_s = 100, .latency_seconds = 0.01, .bucket_bytes = 100, .overlap = true};
    for (int ranks = 1; ranks <= 4096; ranks *= 2) {
        const sd_step_seconds s = step_of(&three, &k, &drop, ranks, 8), bare = step_of(&three, &k, NULL, ranks, 8);
        ck_assert_double_ge(s.step, before);
        ck_assert_double_le(s.step, bare.step);
        ck_assert_double_le(s.exposed, s.communication + EXACT);
        before = s.step;
    }
    for (k.latency_seconds = 0.02; k.latency_seconds < 10; k.latency_seconds *= 2) {
        const double now = step_of(&three, &k, &drop, 4096, 8).step;
        ck_assert_double_gt(now, before);
        before = now;
    }
    k.latency_seconds = 0.01;
    before = step_of(&three, &k, &drop, 4096, 8).step;
    for (k.link_bytes_per_s = 200; k.link_bytes_per_s < 1e6; k.link_bytes_per_s *= 2) {
        const double now = step_of(&three, &k, &drop, 4096, 8).step;
        ck_assert_double_lt(now, before);
        before = now;
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("prediction");
    tcase_add_test(cases, a_cost_is_the_line_through_two_sizes);
    tcase_add_test(cases, no_part_of_a_cost_is_negative);
    tcase_add_test(cases, one_rank_sends_nothing);
    tcase_add_test(cases, few_bytes_go_by_doubling);
    tcase_add_test(cases, many_bytes_go_by_halving_or_around_a_ring);
    tcase_add_test(cases, the_processor_has_its_part);
    tcase_add_test(cases, what_ends_before_backward_is_hidden);
    tcase_add_test(cases, a_slow_wire_is_busy_from_the_first_bucket_on);
    tcase_add_test(cases, one_bucket_for_all_hides_nothing);
    tcase_add_test(cases, work_for_the_wire_stops_computing);
    tcase_add_test(cases, latency_counts_for_each_bucket_and_for_the_loss);
    tcase_add_test(cases, words_take_half_the_bytes_and_share_buckets_by_their_own_size);
    tcase_add_test(cases, statistics_are_sent_as_floats_before_the_words);
    tcase_add_test(cases, rounding_is_computing_and_expanding_is_work_for_the_wire);
    tcase_add_test(cases, a_dropped_branch_costs_neither_time_nor_bytes);
    tcase_add_test(cases, the_mean_is_over_the_plans_of_the_first_steps);
    tcase_add_test(cases, ranks_with_decisions_of_their_own_wait_for_the_slowest);
    tcase_add_test(cases, with_decisions_by_image_a_branch_costs_its_share);
    tcase_add_test(cases, a_rank_with_many_shards_computes_one_after_another);
    tcase_add_test(cases, more_of_what_is_slow_is_never_faster);
    return run_suite("prediction", cases);
}
