/* SPDX-License-Identifier: Apache-2.0 */
/* base/exact: exp and log. */
#include <float.h>

#include "../support.h"

enum { VALUES = 200000 };

static double spread(int i, double low, double high) {
    return low + (high - low) * sd_random_uniform(sd_random_at(SUPPORT_SEED, 1, (uint64_t)i, 0).word[0]);
}

/* Units in the last place of the C library's result, which itself is off by less than one. */
static void expect_within_2_ulp(const char *what, double x, double ours, double reference) {
    const double ulp = nextafter(fabs(reference), INFINITY) - fabs(reference);
    expect(fabs(ours - reference) <= 2 * ulp, "%s of %a is %a, not %a", what, x, ours, reference);
}

START_TEST(exp_is_that_of_the_c_library_within_2_ulp) {
    const double ranges[] = {1e-12, 1e-3, 0.3, 1, 10, 700};
    for (size_t range = 0; range < sizeof ranges / sizeof ranges[0]; range++)
        for (int i = 0; i < VALUES; i++) {
            const double x = spread(i, -ranges[range], ranges[range]);
            expect_within_2_ulp("exp", x, sd_exact_exp(x), exp(x));
        }
}
END_TEST

START_TEST(log_is_that_of_the_c_library_within_2_ulp) {
    const double ranges[][2] = {{0, 1}, {0.5, 2}, {0.999, 1.001}, {1 - 1e-9, 1 + 1e-9}, {1, 1e6}, {0, DBL_MAX}};
    for (size_t range = 0; range < sizeof ranges / sizeof ranges[0]; range++)
        for (int i = 0; i < VALUES; i++) {
            const double x = spread(i, ranges[range][0], ranges[range][1]);
            if (x > 0)
                expect_within_2_ulp("log", x, sd_exact_log(x), log(x));
        }
    for (int k = -1074; k < 1024; k++) /* subnormal numbers too */
        expect_within_2_ulp("log", ldexp(1, k), sd_exact_log(ldexp(1, k)), log(ldexp(1, k)));
}
END_TEST

START_TEST(special_values_are_those_of_the_c_library) {
    ck_assert(sd_exact_exp(0) == 1 && sd_exact_exp(-0.0) == 1);
    ck_assert(isinf(sd_exact_exp(INFINITY)) && isinf(sd_exact_exp(709.79)) && isfinite(sd_exact_exp(709.78)));
    ck_assert(sd_exact_exp(-INFINITY) == 0 && sd_exact_exp(-745.14) == 0 && sd_exact_exp(-745.13) == DBL_TRUE_MIN);
    ck_assert(isnan(sd_exact_exp(NAN)) && isnan(sd_exact_log(NAN)) && isnan(sd_exact_log(-1)));
    ck_assert(sd_exact_log(1) == 0 && sd_exact_log(0) == -INFINITY && sd_exact_log(INFINITY) == INFINITY);
}
END_TEST

/* Results of one build; the aim is that no compiler, flags or processor find others. The arguments are exact. */
START_TEST(bits_are_the_same_on_every_host) {
    double *values = malloc(2 * VALUES * sizeof *values);
    for (int i = 0; i < VALUES; i++) {
        const sd_random random = sd_random_at(SUPPORT_SEED, 2, (uint64_t)i, 0);
        values[2 * i] = sd_exact_exp(((double)random.word[0] - 0x1p31) * 0x1p-26); /* -32..32 */
        values[2 * i + 1] = sd_exact_log(((double)random.word[1] + 1) * 0x1p-27);  /* up to 32 */
    }
    ck_assert_uint_eq(sd_hash(values, 2 * VALUES * sizeof *values), 0x649ee4b7be943747ull);
    free(values);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("exact");
    tcase_add_test(cases, exp_is_that_of_the_c_library_within_2_ulp);
    tcase_add_test(cases, log_is_that_of_the_c_library_within_2_ulp);
    tcase_add_test(cases, special_values_are_those_of_the_c_library);
    tcase_add_test(cases, bits_are_the_same_on_every_host);
    return run_suite("exact", cases);
}
