/* drop/: rates over depth, and the decisions of a step. */
#include "../support.h"

static const sd_drop_schedule schedules[] = {SD_DROP_LINEAR, SD_DROP_LINSPACE, SD_DROP_ZERO_BASED, SD_DROP_CONSTANT};
enum { N_SCHEDULES = 4 };

static double sum_of_rates(sd_drop_schedule schedule, double rate, int L) {
    double sum = 0;
    for (int l = 1; l <= L; l++)
        sum += sd_drop_rate(schedule, rate, l, L);
    return sum;
}

/* A law of L units with the rates of a schedule. Caller frees law.rate. */
static sd_drop_law law_of(sd_drop_schedule schedule, double rate, int L, uint32_t seed, sd_drop_scale scale) {
    sd_drop_law law = {.seed = seed, .scale = scale, .units = L, .rate = malloc((size_t)L * sizeof(double))};
    for (int l = 1; l <= L; l++)
        law.rate[l - 1] = sd_drop_rate(schedule, rate, l, L);
    return law;
}

static sd_drop_plan plan_of(const sd_drop_law *law) {
    sd_drop_plan plan;
    expect_ok(sd_drop_plan_create(law->units, &plan));
    return plan;
}

/* ---- rates ---- */

START_TEST(rates_of_every_rule_at_the_ends_and_in_the_middle) {
    static const struct {
        sd_drop_schedule schedule;
        double first, third, last; /* l = 1, 3, 5 of L = 5 with rate 0.4 */
    } rows[] = {{SD_DROP_LINEAR, 0.08, 0.24, 0.4},
                {SD_DROP_LINSPACE, 0, 0.2, 0.4},
                {SD_DROP_ZERO_BASED, 0, 0.16, 0.32},
                {SD_DROP_CONSTANT, 0.4, 0.4, 0.4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_number("l = 1", sd_drop_rate(rows[i].schedule, 0.4, 1, 5), rows[i].first, 1e-16);
        expect_number("l = 3", sd_drop_rate(rows[i].schedule, 0.4, 3, 5), rows[i].third, 1e-16);
        expect_number("l = 5", sd_drop_rate(rows[i].schedule, 0.4, 5, 5), rows[i].last, 1e-16);
    }
    ck_assert(sd_drop_rate(SD_DROP_LINEAR, 0.5, 54, 54) == 0.5); /* the last block has the rate itself */
    ck_assert(sd_drop_rate(SD_DROP_LINSPACE, 0.5, 54, 54) == 0.5);
}
END_TEST

/* DeiT-like: 16 blocks at 0.2; the three "linear" rules differ in the mean. */
START_TEST(mean_rates_of_sixteen_blocks_at_a_fifth) {
    expect_number("linear", sum_of_rates(SD_DROP_LINEAR, 0.2, 16) / 16, 0.10625, 1e-15);
    expect_number("linspace", sum_of_rates(SD_DROP_LINSPACE, 0.2, 16) / 16, 0.1, 1e-15);
    expect_number("zero_based", sum_of_rates(SD_DROP_ZERO_BASED, 0.2, 16) / 16, 0.09375, 1e-15);
    expect_number("constant", sum_of_rates(SD_DROP_CONSTANT, 0.2, 16) / 16, 0.2, 1e-15);
}
END_TEST

/* ResNet-110 of Huang et al.: 54 blocks at 0.5 leave 40.25 expected blocks (3/4 of 54 as the paper rounds). */
START_TEST(expected_blocks_of_resnet110_at_a_half) {
    expect_number("linear", 54 - sum_of_rates(SD_DROP_LINEAR, 0.5, 54), 40.25, 1e-12);
    expect_number("linspace", 54 - sum_of_rates(SD_DROP_LINSPACE, 0.5, 54), 40.5, 1e-12);
    expect_number("zero_based", 54 - sum_of_rates(SD_DROP_ZERO_BASED, 0.5, 54), 40.75, 1e-12);
}
END_TEST

START_TEST(one_block_has_the_rate_or_zero) {
    ck_assert(sd_drop_rate(SD_DROP_LINEAR, 0.3, 1, 1) == 0.3);
    ck_assert(sd_drop_rate(SD_DROP_LINSPACE, 0.3, 1, 1) == 0);
    ck_assert(sd_drop_rate(SD_DROP_ZERO_BASED, 0.3, 1, 1) == 0);
    ck_assert(sd_drop_rate(SD_DROP_CONSTANT, 0.3, 1, 1) == 0.3);
}
END_TEST

START_TEST(rates_rise_and_stay_probabilities) {
    const double rates[] = {0, 1e-9, 0.2, 0.5, 1};
    for (int s = 0; s < N_SCHEDULES; s++)
        for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++)
            for (int L = 1; L <= 60; L++)
                for (int l = 1; l <= L; l++) {
                    double p = sd_drop_rate(schedules[s], rates[r], l, L);
                    expect(p >= 0 && p <= rates[r], "rule %d, rate %g, block %d of %d: %.17g", s, rates[r], l, L, p);
                    ck_assert(l == 1 || p >= sd_drop_rate(schedules[s], rates[r], l - 1, L));
                }
}
END_TEST

/* ---- decisions ---- */

START_TEST(a_decision_is_the_first_philox_word_against_the_rate) {
    sd_drop_law law = law_of(SD_DROP_LINEAR, 0.7, 30, 12345, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&law);
    for (uint64_t step = 1; step <= 50; step++) {
        int kept_units = 0;
        sd_drop_plan_draw(&law, step, 8, &plan);
        for (int i = 0; i < law.units; i++) {
            double u = sd_random_at(12345, 1, (uint64_t)i, step).word[0] * 0x1p-32; /* stream 1 is part of the format */
            ck_assert_int_eq(plan.kept[i], !(u < law.rate[i]));
            kept_units += plan.kept[i];
        }
        ck_assert_int_eq(plan.kept_units, kept_units);
    }
    sd_drop_plan_free(&plan);
    free(law.rate);
}
END_TEST

/* Dropped if u < p: not at u = p, but at the next double. */
START_TEST(a_number_equal_to_the_rate_keeps) {
    double rate[20];
    sd_drop_law law = {.seed = 4, .units = 20, .rate = rate};
    sd_drop_plan plan = plan_of(&law);
    for (int above = 0; above < 2; above++) {
        for (int i = 0; i < 20; i++) {
            const double u = sd_random_at(4, 1, (uint64_t)i, 6).word[0] * 0x1p-32;
            rate[i] = above ? nextafter(u, 1) : u;
        }
        sd_drop_plan_draw(&law, 6, 8, &plan);
        ck_assert_int_eq(plan.kept_units, above ? 0 : 20);
    }
    sd_drop_plan_free(&plan);
}
END_TEST

START_TEST(rate_zero_never_drops_and_rate_one_always) {
    for (int p = 0; p <= 1; p++) {
        sd_drop_law law = law_of(SD_DROP_CONSTANT, p, 20, 7, SD_DROP_SCALE_TRAINING);
        sd_drop_plan plan = plan_of(&law);
        for (uint64_t step = 1; step <= 2000; step++) {
            sd_drop_plan_draw(&law, step, 8, &plan);
            ck_assert_int_eq(plan.kept_units, p ? 0 : law.units);
            for (int i = 0; i < law.units; i++) {
                ck_assert_int_eq(plan.kept[i], !p);
                ck_assert(isfinite(plan.scale[i])); /* 1/(1 - 1) is no scale */
            }
        }
        sd_drop_plan_free(&plan);
        free(law.rate);
    }
}
END_TEST

START_TEST(units_are_dropped_as_often_as_their_rates_say) {
    enum { STEPS = 20000, L = 16 };
    for (int s = 0; s < N_SCHEDULES; s++) {
        sd_drop_law law = law_of(schedules[s], 0.5, L, 99, SD_DROP_SCALE_INFERENCE);
        sd_drop_plan plan = plan_of(&law);
        int dropped[L] = {0}, both = 0;
        for (uint64_t step = 1; step <= STEPS; step++) {
            sd_drop_plan_draw(&law, step, 8, &plan);
            for (int i = 0; i < L; i++)
                dropped[i] += !plan.kept[i];
            both += !plan.kept[L - 1] && !plan.kept[L - 2];
        }
        for (int i = 0; i < L; i++) {
            double p = law.rate[i];
            expect_number("drops", dropped[i], STEPS * p, 5 * sqrt(STEPS * p * (1 - p))); /* 5 sigma */
        }
        double p = law.rate[L - 1] * law.rate[L - 2]; /* decisions are independent */
        expect_number("drops of both", both, STEPS * p, 5 * sqrt(STEPS * p * (1 - p)));
        sd_drop_plan_free(&plan);
        free(law.rate);
    }
}
END_TEST

START_TEST(plans_repeat_and_differ_between_steps_and_seeds) {
    enum { L = 54 };
    sd_drop_law law = law_of(SD_DROP_LINEAR, 0.5, L, 1, SD_DROP_SCALE_INFERENCE),
                other = law_of(SD_DROP_LINEAR, 0.5, L, 2, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan a = plan_of(&law), b = plan_of(&law);
    int same_as_next = 0, same_as_other = 0;
    for (uint64_t step = 1; step <= 100; step++) {
        sd_drop_plan_draw(&law, step, 8, &a);
        sd_drop_plan_draw(&law, step, 8, &b);
        ck_assert_mem_eq(a.kept, b.kept, L);
        ck_assert_mem_eq(a.scale, b.scale, L * sizeof(float));
        sd_drop_plan_draw(&law, step + 1, 8, &b);
        same_as_next += !memcmp(a.kept, b.kept, L);
        sd_drop_plan_draw(&other, step, 8, &b);
        same_as_other += !memcmp(a.kept, b.kept, L);
    }
    ck_assert_int_eq(same_as_next, 0); /* two equal plans of 54 units: less than 1e-6 each */
    ck_assert_int_eq(same_as_other, 0);
    sd_drop_plan_draw(&law, 5, 8, &a);
    sd_drop_plan_draw(&law, 5 + (1ull << 32), 8, &b); /* the step's upper half counts */
    ck_assert_mem_ne(a.kept, b.kept, L);
    sd_drop_plan_free(&a);
    sd_drop_plan_free(&b);
    free(law.rate);
    free(other.rate);
}
END_TEST

/* ---- scales ---- */

START_TEST(inference_convention_scales_at_evaluation_alone) {
    sd_drop_law law = law_of(SD_DROP_LINEAR, 0.5, 10, 3, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&law);
    sd_drop_plan_draw(&law, 1, 8, &plan);
    for (int i = 0; i < law.units; i++)
        ck_assert(plan.scale[i] == 1);
    sd_drop_plan_evaluation(&law, &plan);
    for (int i = 0; i < law.units; i++)
        ck_assert(plan.scale[i] == (float)(1 - 0.05 * (i + 1)));
    sd_drop_plan_free(&plan);
    free(law.rate);
}
END_TEST

START_TEST(training_convention_scales_in_training_alone) {
    sd_drop_law law = law_of(SD_DROP_LINEAR, 0.5, 10, 3, SD_DROP_SCALE_TRAINING);
    sd_drop_plan plan = plan_of(&law);
    sd_drop_plan_draw(&law, 1, 8, &plan);
    for (int i = 0; i < law.units; i++)
        expect_number("scale", plan.scale[i], 1 / (1 - 0.05 * (i + 1)), 1e-7);
    sd_drop_plan_evaluation(&law, &plan);
    for (int i = 0; i < law.units; i++)
        ck_assert(plan.scale[i] == 1);
    sd_drop_plan_free(&plan);
    free(law.rate);
}
END_TEST

/* What both conventions are for: kept with probability 1 - p, times the scale, is on average what evaluation multiplies by. */
START_TEST(both_conventions_keep_the_expectation) {
    for (int scale = 0; scale < 2; scale++) {
        sd_drop_law law = law_of(SD_DROP_LINEAR, 0.6, 12, 3, (sd_drop_scale)scale);
        sd_drop_plan train = plan_of(&law), evaluation = plan_of(&law);
        sd_drop_plan_draw(&law, 1, 8, &train);
        sd_drop_plan_evaluation(&law, &evaluation);
        for (int i = 0; i < law.units; i++)
            expect_number("expected scale", (1 - law.rate[i]) * train.scale[i], evaluation.scale[i], 1e-6);
        sd_drop_plan_free(&train);
        sd_drop_plan_free(&evaluation);
        free(law.rate);
    }
}
END_TEST

START_TEST(evaluation_keeps_every_unit) {
    sd_drop_law law = law_of(SD_DROP_CONSTANT, 1, 9, 3, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&law);
    sd_drop_plan_draw(&law, 1, 8, &plan);
    sd_drop_plan_evaluation(&law, &plan);
    ck_assert_int_eq(plan.kept_units, 9);
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(plan.kept[i], 1);
        ck_assert(plan.scale[i] == 0); /* always dropped in training: it has no weight at evaluation */
    }
    sd_drop_plan_free(&plan);
    ck_assert_ptr_null(plan.kept);
    free(law.rate);
}
END_TEST

START_TEST(a_network_without_units_has_an_empty_plan) {
    sd_drop_law law = {.seed = 1};
    sd_drop_plan plan = plan_of(&law);
    sd_drop_plan_draw(&law, 1, 8, &plan);
    ck_assert_int_eq(plan.kept_units, 0);
    sd_drop_plan_evaluation(&law, &plan);
    ck_assert_int_eq(plan.kept_units, 0);
    sd_drop_plan_free(&plan);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("drop");
    tcase_add_test(cases, rates_of_every_rule_at_the_ends_and_in_the_middle);
    tcase_add_test(cases, mean_rates_of_sixteen_blocks_at_a_fifth);
    tcase_add_test(cases, expected_blocks_of_resnet110_at_a_half);
    tcase_add_test(cases, one_block_has_the_rate_or_zero);
    tcase_add_test(cases, rates_rise_and_stay_probabilities);
    tcase_add_test(cases, a_decision_is_the_first_philox_word_against_the_rate);
    tcase_add_test(cases, a_number_equal_to_the_rate_keeps);
    tcase_add_test(cases, rate_zero_never_drops_and_rate_one_always);
    tcase_add_test(cases, units_are_dropped_as_often_as_their_rates_say);
    tcase_add_test(cases, plans_repeat_and_differ_between_steps_and_seeds);
    tcase_add_test(cases, inference_convention_scales_at_evaluation_alone);
    tcase_add_test(cases, training_convention_scales_in_training_alone);
    tcase_add_test(cases, both_conventions_keep_the_expectation);
    tcase_add_test(cases, evaluation_keeps_every_unit);
    tcase_add_test(cases, a_network_without_units_has_an_empty_plan);
    return run_suite("drop", cases);
}
