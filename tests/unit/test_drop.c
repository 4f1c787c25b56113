/* SPDX-License-Identifier: Apache-2.0 */
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

/* A drop of L units with the rates of a schedule. Caller frees drop.rate. */
static sd_drop_spec law_of(sd_drop_schedule schedule, double rate, int L, uint32_t seed, sd_drop_scale scale) {
    sd_drop_spec drop = {.seed = seed, .scale = scale, .units = L, .rate = malloc((size_t)L * sizeof(double))};
    for (int l = 1; l <= L; l++)
        drop.rate[l - 1] = sd_drop_rate(schedule, rate, l, L);
    return drop;
}

static sd_drop_plan plan_of(const sd_drop_spec *drop) {
    sd_drop_plan plan;
    expect_ok(sd_drop_plan_create(drop->units, &plan));
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
    sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.7, 30, 12345, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&drop);
    for (uint64_t step = 1; step <= 50; step++) {
        int kept_units = 0;
        sd_drop_plan_draw(&drop, step, 8, &plan);
        for (int i = 0; i < drop.units; i++) {
            double u = sd_random_at(12345, 1, (uint64_t)i, step).word[0] * 0x1p-32; /* stream 1 is part of the format */
            ck_assert_int_eq(plan.kept[i], !(u < drop.rate[i]));
            kept_units += plan.kept[i];
        }
        ck_assert_int_eq(plan.kept_units, kept_units);
    }
    sd_drop_plan_free(&plan);
    free(drop.rate);
}
END_TEST

/* Dropped if u < p: not at u = p, but at the next double. */
START_TEST(a_number_equal_to_the_rate_keeps) {
    double rate[20];
    sd_drop_spec drop = {.seed = 4, .units = 20, .rate = rate};
    sd_drop_plan plan = plan_of(&drop);
    for (int above = 0; above < 2; above++) {
        for (int i = 0; i < 20; i++) {
            const double u = sd_random_at(4, 1, (uint64_t)i, 6).word[0] * 0x1p-32;
            rate[i] = above ? nextafter(u, 1) : u;
        }
        sd_drop_plan_draw(&drop, 6, 8, &plan);
        ck_assert_int_eq(plan.kept_units, above ? 0 : 20);
    }
    sd_drop_plan_free(&plan);
}
END_TEST

START_TEST(rate_zero_never_drops_and_rate_one_always) {
    for (int p = 0; p <= 1; p++) {
        sd_drop_spec drop = law_of(SD_DROP_CONSTANT, p, 20, 7, SD_DROP_SCALE_TRAINING);
        sd_drop_plan plan = plan_of(&drop);
        for (uint64_t step = 1; step <= 2000; step++) {
            sd_drop_plan_draw(&drop, step, 8, &plan);
            ck_assert_int_eq(plan.kept_units, p ? 0 : drop.units);
            for (int i = 0; i < drop.units; i++) {
                ck_assert_int_eq(plan.kept[i], !p);
                ck_assert(isfinite(plan.scale[i])); /* 1/(1 - 1) is no scale */
            }
        }
        sd_drop_plan_free(&plan);
        free(drop.rate);
    }
}
END_TEST

START_TEST(units_are_dropped_as_often_as_their_rates_say) {
    enum { STEPS = 20000, L = 16 };
    for (int s = 0; s < N_SCHEDULES; s++) {
        sd_drop_spec drop = law_of(schedules[s], 0.5, L, 99, SD_DROP_SCALE_INFERENCE);
        sd_drop_plan plan = plan_of(&drop);
        int dropped[L] = {0}, both = 0;
        for (uint64_t step = 1; step <= STEPS; step++) {
            sd_drop_plan_draw(&drop, step, 8, &plan);
            for (int i = 0; i < L; i++)
                dropped[i] += !plan.kept[i];
            both += !plan.kept[L - 1] && !plan.kept[L - 2];
        }
        for (int i = 0; i < L; i++) {
            double p = drop.rate[i];
            expect_number("drops", dropped[i], STEPS * p, 5 * sqrt(STEPS * p * (1 - p))); /* 5 sigma */
        }
        double p = drop.rate[L - 1] * drop.rate[L - 2]; /* decisions are independent */
        expect_number("drops of both", both, STEPS * p, 5 * sqrt(STEPS * p * (1 - p)));
        sd_drop_plan_free(&plan);
        free(drop.rate);
    }
}
END_TEST

START_TEST(plans_repeat_and_differ_between_steps_and_seeds) {
    enum { L = 54 };
    sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.5, L, 1, SD_DROP_SCALE_INFERENCE),
                 other = law_of(SD_DROP_LINEAR, 0.5, L, 2, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan a = plan_of(&drop), b = plan_of(&drop);
    int same_as_next = 0, same_as_other = 0;
    for (uint64_t step = 1; step <= 100; step++) {
        sd_drop_plan_draw(&drop, step, 8, &a);
        sd_drop_plan_draw(&drop, step, 8, &b);
        ck_assert_mem_eq(a.kept, b.kept, L);
        ck_assert_mem_eq(a.scale, b.scale, L * sizeof(float));
        sd_drop_plan_draw(&drop, step + 1, 8, &b);
        same_as_next += !memcmp(a.kept, b.kept, L);
        sd_drop_plan_draw(&other, step, 8, &b);
        same_as_other += !memcmp(a.kept, b.kept, L);
    }
    ck_assert_int_eq(same_as_next, 0); /* two equal plans of 54 units: less than 1e-6 each */
    ck_assert_int_eq(same_as_other, 0);
    sd_drop_plan_draw(&drop, 5, 8, &a);
    sd_drop_plan_draw(&drop, 5 + (1ull << 32), 8, &b); /* the step's upper half counts */
    ck_assert_mem_ne(a.kept, b.kept, L);
    sd_drop_plan_free(&a);
    sd_drop_plan_free(&b);
    free(drop.rate);
    free(other.rate);
}
END_TEST

/* ---- decisions of ranks and samples ---- */

static sd_drop_part part_of(const sd_drop_spec *drop, int max_images) {
    sd_drop_part part;
    expect_ok(sd_drop_part_create(drop->units, max_images, &part));
    return part;
}

/* Whether a part keeps a unit for the image at a place. */
static bool part_keeps(const sd_drop_part *part, int unit, uint32_t place) {
    const uint32_t *places = part->places + (size_t)unit * (size_t)part->max_images;
    for (int i = 0; i < part->images[unit]; i++)
        if (places[i] == place)
            return true;
    return false;
}

/* Streams 8 and 9, four choosers a number, are part of the format. */
START_TEST(votes_of_ranks_and_samples_are_words_of_the_documented_counters) {
    enum { IMAGES = 23, RANKS = 6, UNITS = 7 };
    for (int scope = SD_DROP_SCOPE_RANK; scope <= SD_DROP_SCOPE_SAMPLE; scope++) {
        sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.8, UNITS, 77, SD_DROP_SCALE_TRAINING);
        drop.scope = (sd_drop_scope)scope;
        drop.ranks = RANKS;
        sd_drop_plan plan = plan_of(&drop);
        sd_drop_part part = part_of(&drop, IMAGES);
        const uint64_t step = 5;
        sd_drop_plan_draw(&drop, step, IMAGES, &plan);
        for (int i = 0; i < UNITS; i++) {
            uint64_t kept = 0;
            for (uint64_t place = 0; place < IMAGES; place++) {
                int rank = 0;
                sd_range share = sd_range_share(IMAGES, 0, RANKS);
                while (place >= share.first + share.count)
                    share = sd_range_share(IMAGES, ++rank, RANKS);
                const uint64_t chooser = scope == SD_DROP_SCOPE_RANK ? (uint64_t)rank : place;
                const sd_random random =
                    sd_random_at(77, scope == SD_DROP_SCOPE_RANK ? 8 : 9, (uint64_t)i << 32 | chooser / 4, step);
                const bool keeps = !(random.word[chooser % 4] * 0x1p-32 < drop.rate[i]);
                sd_drop_part_draw(&drop, step, rank, share, &part);
                expect(part_keeps(&part, i, (uint32_t)(place - share.first)) == keeps, "scope %d, unit %d, image %d",
                       scope, i, (int)place);
                kept += keeps;
            }
            ck_assert_uint_eq(plan.images[i], kept);
            ck_assert_int_eq(plan.kept[i], kept > 0);
            expect_number("scale", plan.scale[i], 1 / (1 - drop.rate[i]), 1e-6);
        }
        sd_drop_part_free(&part);
        sd_drop_plan_free(&plan);
        free(drop.rate);
    }
}
END_TEST

/* What a rank sees is the plan's: whatever the ranks, and into whatever pieces their shares are cut. */
START_TEST(parts_add_up_to_the_plan) {
    enum { IMAGES = 50, UNITS = 9 };
    for (int scope = SD_DROP_SCOPE_RANK; scope <= SD_DROP_SCOPE_SAMPLE; scope++)
        for (int ranks = 1; ranks <= 7; ranks++)
            for (uint64_t at_once = 1; at_once <= IMAGES; at_once = at_once * 3 + 1)
                for (uint64_t step = 1; step <= 10; step++) {
                    sd_drop_spec drop = law_of(SD_DROP_CONSTANT, 0.5, UNITS, 3, SD_DROP_SCALE_INFERENCE);
                    drop.scope = (sd_drop_scope)scope;
                    drop.ranks = ranks;
                    sd_drop_plan plan = plan_of(&drop);
                    sd_drop_part part = part_of(&drop, (int)at_once);
                    uint64_t sum[UNITS] = {0};
                    for (int rank = 0; rank < ranks; rank++) {
                        const sd_range share = sd_range_share(IMAGES, rank, ranks);
                        for (uint64_t done = 0; done < share.count; done += at_once) {
                            const uint64_t rest = share.count - done;
                            const sd_range piece = {share.first + done, rest < at_once ? rest : at_once};
                            sd_drop_part_draw(&drop, step, rank, piece, &part);
                            for (int i = 0; i < UNITS; i++) {
                                const uint32_t *places = part.places + (size_t)i * at_once;
                                for (int n = 0; n < part.images[i]; n++)
                                    ck_assert(places[n] < piece.count && (n == 0 || places[n] > places[n - 1]));
                                ck_assert(scope == SD_DROP_SCOPE_SAMPLE || part.images[i] == 0 ||
                                          (uint64_t)part.images[i] == piece.count);
                                sum[i] += (uint64_t)part.images[i];
                            }
                        }
                    }
                    sd_drop_plan_draw(&drop, step, IMAGES, &plan);
                    for (int i = 0; i < UNITS; i++)
                        ck_assert_uint_eq(sum[i], plan.images[i]);
                    sd_drop_part_free(&part);
                    sd_drop_plan_free(&plan);
                    free(drop.rate);
                }
}
END_TEST

START_TEST(samples_decide_alike_on_any_number_of_ranks) {
    enum { IMAGES = 31, UNITS = 5 };
    sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.6, UNITS, 12, SD_DROP_SCALE_INFERENCE);
    drop.scope = SD_DROP_SCOPE_SAMPLE;
    sd_drop_part whole = part_of(&drop, IMAGES), part = part_of(&drop, IMAGES);
    for (uint64_t step = 1; step <= 20; step++) {
        sd_drop_part_draw(&drop, step, 0, (sd_range){0, IMAGES}, &whole);
        for (int ranks = 2; ranks <= 8; ranks++)
            for (int rank = 0; rank < ranks; rank++) {
                const sd_range share = sd_range_share(IMAGES, rank, ranks);
                sd_drop_part_draw(&drop, step, rank, share, &part);
                for (int i = 0; i < UNITS; i++)
                    for (uint32_t n = 0; n < share.count; n++)
                        ck_assert(part_keeps(&part, i, n) == part_keeps(&whole, i, (uint32_t)share.first + n));
            }
    }
    sd_drop_part_free(&whole);
    sd_drop_part_free(&part);
    free(drop.rate);
}
END_TEST

/* 5 sigma; and two choosers decide apart, as do two units and two steps. */
START_TEST(ranks_and_samples_drop_as_often_as_the_rates_say_and_apart) {
    enum { STEPS = 4000, UNITS = 3, VOTERS = 5 };
    for (int scope = SD_DROP_SCOPE_RANK; scope <= SD_DROP_SCOPE_SAMPLE; scope++) {
        sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.6, UNITS, 8, SD_DROP_SCALE_INFERENCE);
        drop.scope = (sd_drop_scope)scope;
        drop.ranks = VOTERS;
        sd_drop_part part = part_of(&drop, 1);
        int dropped[UNITS][VOTERS] = {{0}}, both_voters = 0, both_units = 0, both_steps = 0;
        bool last_step = false;
        for (uint64_t step = 1; step <= STEPS; step++) {
            bool drops[UNITS][VOTERS];
            for (int v = 0; v < VOTERS; v++) { /* one image a rank */
                sd_drop_part_draw(&drop, step, v, (sd_range){(uint64_t)v, 1}, &part);
                for (int i = 0; i < UNITS; i++)
                    dropped[i][v] += drops[i][v] = part.images[i] == 0;
            }
            both_voters += drops[2][0] && drops[2][1];
            both_units += drops[2][0] && drops[1][0];
            both_steps += drops[2][0] && last_step;
            last_step = drops[2][0];
        }
        for (int i = 0; i < UNITS; i++)
            for (int v = 0; v < VOTERS; v++) {
                const double p = drop.rate[i];
                expect_number("drops", dropped[i][v], STEPS * p, 5 * sqrt(STEPS * p * (1 - p)));
            }
        const double p = 0.6 * 0.6, q = 0.6 * 0.4;
        expect_number("drops of two choosers", both_voters, STEPS * p, 5 * sqrt(STEPS * p * (1 - p)));
        expect_number("drops of two units", both_units, STEPS * q, 5 * sqrt(STEPS * q * (1 - q)));
        expect_number("drops of two steps", both_steps, STEPS * p, 10 * sqrt(STEPS * p * (1 - p)));
        sd_drop_part_free(&part);
        free(drop.rate);
    }
}
END_TEST

START_TEST(rates_of_zero_and_one_hold_in_every_scope) {
    for (int scope = SD_DROP_SCOPE_GLOBAL; scope <= SD_DROP_SCOPE_SAMPLE; scope++)
        for (int p = 0; p <= 1; p++) {
            sd_drop_spec drop = law_of(SD_DROP_CONSTANT, p, 4, 7, SD_DROP_SCALE_TRAINING);
            drop.scope = (sd_drop_scope)scope;
            drop.ranks = 3;
            sd_drop_plan plan = plan_of(&drop);
            for (uint64_t step = 1; step <= 200; step++) {
                sd_drop_plan_draw(&drop, step, 10, &plan);
                ck_assert_int_eq(plan.kept_units, p ? 0 : 4);
                for (int i = 0; i < 4; i++)
                    ck_assert_uint_eq(plan.images[i], p ? 0 : 10);
            }
            sd_drop_plan_free(&plan);
            free(drop.rate);
        }
}
END_TEST

/* ---- scales ---- */

START_TEST(inference_convention_scales_at_evaluation_alone) {
    sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.5, 10, 3, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&drop);
    sd_drop_plan_draw(&drop, 1, 8, &plan);
    for (int i = 0; i < drop.units; i++)
        ck_assert(plan.scale[i] == 1);
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    for (int i = 0; i < drop.units; i++)
        ck_assert(plan.scale[i] == (float)(1 - 0.05 * (i + 1)));
    sd_drop_plan_free(&plan);
    free(drop.rate);
}
END_TEST

START_TEST(training_convention_scales_in_training_alone) {
    sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.5, 10, 3, SD_DROP_SCALE_TRAINING);
    sd_drop_plan plan = plan_of(&drop);
    sd_drop_plan_draw(&drop, 1, 8, &plan);
    for (int i = 0; i < drop.units; i++)
        expect_number("scale", plan.scale[i], 1 / (1 - 0.05 * (i + 1)), 1e-7);
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    for (int i = 0; i < drop.units; i++)
        ck_assert(plan.scale[i] == 1);
    sd_drop_plan_free(&plan);
    free(drop.rate);
}
END_TEST

/* What both conventions are for: kept with probability 1 - p, times the scale, is on average what evaluation
 * multiplies by. */
START_TEST(both_conventions_keep_the_expectation) {
    for (int scale = 0; scale < 2; scale++) {
        sd_drop_spec drop = law_of(SD_DROP_LINEAR, 0.6, 12, 3, (sd_drop_scale)scale);
        sd_drop_plan train = plan_of(&drop), evaluation = plan_of(&drop);
        sd_drop_plan_draw(&drop, 1, 8, &train);
        sd_drop_plan_evaluation(&drop, NULL, &evaluation);
        for (int i = 0; i < drop.units; i++)
            expect_number("expected scale", (1 - drop.rate[i]) * train.scale[i], evaluation.scale[i], 1e-6);
        sd_drop_plan_free(&train);
        sd_drop_plan_free(&evaluation);
        free(drop.rate);
    }
}
END_TEST

START_TEST(evaluation_keeps_every_unit) {
    sd_drop_spec drop = law_of(SD_DROP_CONSTANT, 1, 9, 3, SD_DROP_SCALE_INFERENCE);
    sd_drop_plan plan = plan_of(&drop);
    sd_drop_plan_draw(&drop, 1, 8, &plan);
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    ck_assert_int_eq(plan.kept_units, 9);
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(plan.kept[i], 1);
        ck_assert(plan.scale[i] == 0); /* always dropped in training: it has no weight at evaluation */
    }
    sd_drop_plan_free(&plan);
    ck_assert_ptr_null(plan.kept);
    free(drop.rate);
}
END_TEST

/* fairseq's LayerDropModuleList: a layer runs if u > p in training, and always in evaluation, unscaled in both. */
START_TEST(without_a_scale_branches_are_kept_or_not_and_nothing_else) {
    sd_drop_spec drop = law_of(SD_DROP_CONSTANT, 0.5, 12, 6, SD_DROP_SCALE_NONE);
    sd_drop_plan plan = plan_of(&drop);
    for (uint64_t step = 1; step <= 200; step++) {
        sd_drop_plan_draw(&drop, step, 8, &plan);
        for (int i = 0; i < drop.units; i++) {
            const double u = sd_random_at(6, 1, (uint64_t)i, step).word[0] * 0x1p-32;
            ck_assert(u != 0.5);
            ck_assert_int_eq(plan.kept[i], u > 0.5);
            ck_assert(plan.scale[i] == 1);
        }
    }
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    ck_assert_int_eq(plan.kept_units, 12);
    for (int i = 0; i < drop.units; i++)
        ck_assert(plan.scale[i] == 1);
    sd_drop_plan_free(&plan);
    free(drop.rate);
}
END_TEST

/* ---- plans that keep enough ---- */

/* Sums over all 2^units plans. */
static double condition_by_enumeration(int units, int min_kept, const double *p, double *rate) {
    double enough = 0, dropped[16] = {0};
    for (int plan = 0; plan < 1 << units; plan++) {
        double probability = 1;
        int kept = 0;
        for (int i = 0; i < units; i++) {
            kept += plan >> i & 1;
            probability *= plan >> i & 1 ? 1 - p[i] : p[i];
        }
        if (kept < min_kept)
            continue;
        enough += probability;
        for (int i = 0; i < units; i++)
            dropped[i] += plan >> i & 1 ? 0 : probability;
    }
    for (int i = 0; i < units; i++)
        rate[i] = dropped[i] / enough;
    return enough;
}

START_TEST(rates_of_plans_that_keep_enough_are_those_of_all_such_plans) {
    enum { UNITS = 9 };
    static const double laws[][UNITS] = {{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
                                         {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9},
                                         {0, 0.3, 1, 0.3, 0, 0.9, 0.01, 1, 0.5},
                                         {1e-12, 1e-9, 1e-6, 1e-3, 0.5, 0.999, 1 - 1e-9, 0, 1}};
    for (int law = 0; law < 4; law++)
        for (int min_kept = 0; min_kept <= UNITS; min_kept++) {
            double rate[UNITS], expected[UNITS];
            const double enough = condition_by_enumeration(UNITS, min_kept, laws[law], expected);
            expect_number("probability", sd_drop_condition(UNITS, min_kept, laws[law], rate), enough, 1e-14 * enough);
            for (int i = 0; i < UNITS && enough >= SD_DROP_RAREST; i++) {
                expect_number("rate", rate[i], expected[i], 1e-14 * expected[i]);
                ck_assert(rate[i] >= 0 && rate[i] <= 1);
                if (min_kept == 0 || laws[law][i] == 0)
                    ck_assert(rate[i] == laws[law][i]);
            }
        }
    double rate[1], certain = 0;
    ck_assert(sd_drop_condition(1, 2, &certain, rate) == 0); /* more than there are */
}
END_TEST

/* Draws attempts 0, 1, ... by the counters that random.h documents. */
static void expect_first_that_keeps(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan) {
    for (uint64_t attempt = 0;; attempt++) {
        unsigned char kept[16];
        int sum = 0;
        for (int i = 0; i < drop->units; i++) {
            const double u = sd_random_at(drop->seed, 1, attempt << 32 | (uint64_t)i, step).word[0] * 0x1p-32;
            sum += kept[i] = !(u < drop->threshold[i]);
        }
        if (sum < drop->min_kept)
            continue;
        ck_assert_mem_eq(plan->kept, kept, (size_t)drop->units);
        return;
    }
}

START_TEST(plans_that_keep_too_few_are_drawn_again_and_whole) {
    enum { STEPS = 20000, L = 12, MIN_KEPT = 6 };
    double threshold[L], rate[L];
    for (int i = 0; i < L; i++)
        threshold[i] = 0.3 + 0.03 * i;
    ck_assert(sd_drop_condition(L, MIN_KEPT, threshold, rate) > SD_DROP_RAREST);
    sd_drop_spec drop = {.seed = 5, .scale = SD_DROP_SCALE_TRAINING, .units = L, .rate = rate, .threshold = threshold};
    sd_drop_spec any = {.seed = 5, .units = L, .rate = threshold};
    drop.min_kept = MIN_KEPT;
    sd_drop_plan plan = plan_of(&drop), first = plan_of(&any);
    int dropped[L] = {0}, redrawn = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        sd_drop_plan_draw(&drop, step, 8, &plan);
        sd_drop_plan_draw(&any, step, 8, &first);
        ck_assert_int_ge(plan.kept_units, MIN_KEPT);
        if (first.kept_units >= MIN_KEPT)
            ck_assert_mem_eq(plan.kept, first.kept, L);
        else
            redrawn++;
        expect_first_that_keeps(&drop, step, &plan);
        for (int i = 0; i < L; i++) {
            dropped[i] += !plan.kept[i];
            ck_assert(plan.scale[i] == (float)(1 / (1 - rate[i])));
        }
    }
    ck_assert_int_gt(redrawn, STEPS / 10);
    for (int i = 0; i < L; i++)
        expect_number("drops", dropped[i], STEPS * rate[i], 5 * sqrt(STEPS * rate[i] * (1 - rate[i]))); /* 5 sigma */
    sd_drop_plan_free(&plan);
    sd_drop_plan_free(&first);
}
END_TEST

START_TEST(a_network_without_units_has_an_empty_plan) {
    sd_drop_spec drop = {.seed = 1};
    sd_drop_plan plan = plan_of(&drop);
    sd_drop_plan_draw(&drop, 1, 8, &plan);
    ck_assert_int_eq(plan.kept_units, 0);
    sd_drop_plan_evaluation(&drop, NULL, &plan);
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
    tcase_add_test(cases, votes_of_ranks_and_samples_are_words_of_the_documented_counters);
    tcase_add_test(cases, parts_add_up_to_the_plan);
    tcase_add_test(cases, samples_decide_alike_on_any_number_of_ranks);
    tcase_add_test(cases, ranks_and_samples_drop_as_often_as_the_rates_say_and_apart);
    tcase_add_test(cases, rates_of_zero_and_one_hold_in_every_scope);
    tcase_add_test(cases, inference_convention_scales_at_evaluation_alone);
    tcase_add_test(cases, training_convention_scales_in_training_alone);
    tcase_add_test(cases, both_conventions_keep_the_expectation);
    tcase_add_test(cases, evaluation_keeps_every_unit);
    tcase_add_test(cases, without_a_scale_branches_are_kept_or_not_and_nothing_else);
    tcase_add_test(cases, rates_of_plans_that_keep_enough_are_those_of_all_such_plans);
    tcase_add_test(cases, plans_that_keep_too_few_are_drawn_again_and_whole);
    tcase_add_test(cases, a_network_without_units_has_an_empty_plan);
    return run_suite("drop", cases);
}
