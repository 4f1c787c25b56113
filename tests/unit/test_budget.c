/* SPDX-License-Identifier: Apache-2.0 */
/* guard/: whether there is time for another step. What runs make of it: tests/mpi/budget_test.py. */
#include "sdtrain/guard.h"

#include <math.h>
#include <time.h>

#include "../support.h"
#include "sdtrain/clock.h"
#include "sdtrain/config.h"

static sd_budget begun(const char *max_seconds, const char *slurm_end) {
    static sd_config config; /* large */
    sd_budget budget;
    char setting[64];
    snprintf(setting, sizeof setting, "run.max_seconds=%s", max_seconds);
    sd_config_init(&config);
    expect_ok(sd_config_set(&config, setting));
    if (slurm_end)
        ck_assert_int_eq(setenv("SLURM_JOB_END_TIME", slurm_end, 1), 0);
    else
        unsetenv("SLURM_JOB_END_TIME");
    sd_budget_begin(&budget, (double)config.run.max_seconds, 100000000);
    ck_assert(!budget.spent);
    return budget;
}

static double left(const char *max_seconds, const char *slurm_end) {
    return begun(max_seconds, slurm_end).end - sd_clock_program_start();
}

START_TEST(the_earlier_end_counts) {
    char slurm[32];
    snprintf(slurm, sizeof slurm, "%lld", (long long)time(NULL) + 500);
    ck_assert(isinf(left("0", NULL)));
    expect_number("max_seconds", left("600", NULL), 600, 1e-9);
    ck_assert(fabs(left("0", slurm) - 500) < 5); /* whole seconds, and those this test took */
    ck_assert(fabs(left("600", slurm) - 500) < 5);
    expect_number("max_seconds", left("400", slurm), 400, 1e-9);
}
END_TEST

START_TEST(an_end_that_tells_nothing_is_not_heeded) {
    static const char *const texts[] = {"", "soon", "12 o'clock", "0", "1700000000", "nan"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ck_assert_msg(isinf(left("0", texts[i])), "'%s'", texts[i]);
        expect_number("max_seconds", left("600", texts[i]), 600, 1e-9);
    }
}
END_TEST

/* Seconds that must be left for the budget not to be spent, by bisection to 0.05 s. */
static double needed(sd_budget budget, bool epoch_ends, uint64_t scored, uint64_t batch) {
    double low = 0, high = 1000;
    while (high - low > 0.02) {
        const double middle = (low + high) / 2;
        budget.end = sd_clock_seconds() + middle;
        *(sd_budget_spent(&budget, epoch_ends, scored, batch) ? &low : &high) = middle;
    }
    return high;
}

START_TEST(two_steps_two_checkpoints_and_a_margin_must_fit) {
    expect_number("nothing known", needed((sd_budget){0}, false, 0, 8), 2, 0.05);
    expect_number("first checkpoint: 100 MB", needed(begun("0", NULL), false, 0, 8), 2 + 2 * 2, 0.05);
    const sd_budget known = {.step = 3, .checkpoint = 5, .epoch_end = 40};
    expect_number("within an epoch", needed(known, false, 800, 8), 2 + 2 * 8, 0.05);
    expect_number("at its end", needed(known, true, 0, 8), 2 + 2 * 8 + 40, 0.05);
    expect_number("scoring not seen yet", needed(known, true, 800, 8), 2 + 2 * 8 + 300, 0.05);
}
END_TEST

START_TEST(the_longest_is_kept) {
    double longest = 0;
    sd_budget_note(&longest, sd_clock_seconds() - 7);
    sd_budget_note(&longest, sd_clock_seconds() - 3);
    expect_number("longest", longest, 7, 0.05);
    ck_assert(isinf(begun("0", NULL).end));
    ck_assert(!sd_budget_spent(&(sd_budget){.end = INFINITY, .step = 1e6}, true, 1000000, 1));
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("budget");
    tcase_add_test(cases, the_earlier_end_counts);
    tcase_add_test(cases, an_end_that_tells_nothing_is_not_heeded);
    tcase_add_test(cases, two_steps_two_checkpoints_and_a_margin_must_fit);
    tcase_add_test(cases, the_longest_is_kept);
    return run_suite("budget", cases);
}
