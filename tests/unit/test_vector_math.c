/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/vector_math.h: exp of the softmax, GELU and its derivative over all floats, against libm in double.
 *
 * u = 2^-24 bounds the relative rounding of one operation. The largest errors measured, over every 16th float
 * up to 64, are 1.9e-7 max(1, |x|) for GELU and 2.2e-7 for its derivative with FMA, 2.2e-7 and 3.3e-7 without: each
 * product is then rounded before it is added. */
#include "../../src/kernels/vector_math.h"
#include "../support.h"

static const sd_kernels *k; /* the table under test: loop index */

static void begin(int isa) {
    k = sd_kernels_at(isa);
    sd_kernels_set_threads(1);
}

static bool has_fma(void) { return !strncmp(k->name, "avx", 3); }
static double gelu_tolerance(double x) { return (has_fma() ? 2.1e-7 : 2.4e-7) * fmax(1, fabs(x)); }
static double slope_tolerance(void) { return has_fma() ? 2.4e-7 : 3.4e-7; }

static double distribution(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
static double density(double x) { return exp(-0.5 * x * x) / sqrt(2 * M_PI); }

/* ---- samples ---- */

typedef struct samples {
    float *x;
    size_t n;
} samples;

static void add_both_signs(samples *s, float x) {
    s->x[s->n++] = x;
    s->x[s->n++] = -x;
}

enum { MANTISSAS = 101, NEIGHBOURS = 2000, GRID = 120000 };

/* Every exponent, subnormals among them; all floats around the places where formulas change; a grid; infinity.
 * Caller frees x. */
static samples new_samples(void) {
    const float changes[] = {6.0f, 6.2f, 5.5f};
    enum { N_CHANGES = sizeof changes / sizeof changes[0] };
    samples s = {new_floats(2 * (255 * MANTISSAS + N_CHANGES * (2 * NEIGHBOURS + 1) + GRID + 2)), 0};
    for (uint32_t exponent = 0; exponent < 255; exponent++)
        for (uint32_t m = 0; m < MANTISSAS; m++)
            add_both_signs(&s, float_of(exponent << 23 | (uint32_t)(0x7fffffull * m / (MANTISSAS - 1))));
    for (size_t c = 0; c < N_CHANGES; c++)
        for (uint32_t i = 0; i <= 2 * NEIGHBOURS; i++)
            add_both_signs(&s, float_of(bits_of(changes[c]) - NEIGHBOURS + i));
    for (int i = 0; i < GRID; i++)
        add_both_signs(&s, (float)i * 1e-4f);
    add_both_signs(&s, INFINITY);
    return s;
}

static float *new_gelu(samples s) {
    float *y = new_floats(s.n);
    k->map(1, (int)s.n, s.x, &(sd_map){.kind = SD_MAP_GELU}, y);
    return y;
}

/* dy = 1 */
static float *new_slope(samples s) {
    float *dx = new_floats(s.n);
    for (size_t i = 0; i < s.n; i++)
        dx[i] = 1;
    k->map(1, (int)s.n, dx, &(sd_map){.kind = SD_MAP_GELU_BACKWARD, .other = s.x}, dx);
    return dx;
}

/* ---- GELU ---- */

START_TEST(gelu_equals_its_formula_for_all_floats) {
    begin(_i);
    const samples s = new_samples();
    float *y = new_gelu(s);
    for (size_t i = 0; i < s.n; i++) {
        const double x = s.x[i], positive = fmax(x, 0);
        if (fabs(x) >= 6)
            expect(y[i] == positive, "gelu(%.9g) is %.9g, not exactly %g", x, y[i], positive);
        else
            expect(fabs(y[i] - x * distribution(x)) <= gelu_tolerance(x), "gelu(%.9g) is %.9g, not %.9g", x, y[i],
                   x * distribution(x));
        expect(y[i] <= positive, "gelu(%.9g) is %.9g, above max(x, 0)", x, y[i]);
    }
    free(y);
    free(s.x);
}
END_TEST

START_TEST(gelu_slope_equals_its_formula_for_all_floats) {
    begin(_i);
    const samples s = new_samples();
    float *slope = new_slope(s);
    for (size_t i = 0; i < s.n; i++) {
        const double x = s.x[i];
        if (fabs(x) > 6.2f)
            expect(slope[i] == (x > 0), "gelu'(%.9g) is %.9g, not exactly %d", x, slope[i], x > 0);
        else
            expect(fabs(slope[i] - distribution(x) - x * density(x)) <= slope_tolerance(),
                   "gelu'(%.9g) is %.9g, not %.9g", x, slope[i], distribution(x) + x * density(x));
    }
    free(slope);
    free(s.x);
}
END_TEST

/* gelu has its minimum at -0.7518. Steps of 1e-3, which change it by more than an error as far as its slope allows
 * that, and of one float around the end of the fit, where roundings of 1 ulp remain. */
START_TEST(gelu_rises_and_falls_where_its_formula_does) {
    begin(_i);
    samples s = {new_floats(20000), 0};
    for (int i = -2000; i < 12000; i++)
        s.x[s.n++] = (float)i * 1e-3f;
    float *y = new_gelu(s);
    for (size_t i = 1; i < s.n; i++)
        expect(s.x[i - 1] > -0.74f ? y[i] > y[i - 1] : s.x[i] > -0.76f || y[i] < y[i - 1],
               "gelu(%.9g) is %.9g, gelu(%.9g) is %.9g", s.x[i - 1], y[i - 1], s.x[i], y[i]);
    free(y);
    s.n = 0;
    for (uint32_t i = 0; i < 2 * NEIGHBOURS; i++)
        s.x[s.n++] = float_of(bits_of(6.0f) - NEIGHBOURS + i);
    y = new_gelu(s);
    for (size_t i = 1; i < s.n; i++)
        expect(y[i] >= y[i - 1] - 0x1p-21f, "gelu(%.9g) is %.9g, gelu(%.9g) is %.9g", s.x[i - 1], y[i - 1], s.x[i],
               y[i]);
    free(y);
    free(s.x);
}
END_TEST

/* As vectors and in the rest of a row. */
START_TEST(gelu_keeps_zeros_and_what_is_not_a_number) {
    begin(_i);
    float x[] = {0, -0.0f, NAN, -NAN, 0, -0.0f, NAN, 0, 0, 0, 0, 0, 0, 0, 0, 0, NAN, 0, -0.0f};
    const samples s = {x, sizeof x / sizeof x[0]};
    float *y = new_gelu(s), *slope = new_slope(s);
    for (size_t i = 0; i < s.n; i++) {
        expect(isnan(x[i]) ? isnan(y[i]) : y[i] == 0 && signbit(y[i]) == signbit(x[i]), "gelu(%g) is %g", x[i], y[i]);
        expect(isnan(x[i]) ? isnan(slope[i]) : slope[i] == 0.5f, "gelu'(%g) is %g", x[i], slope[i]);
    }
    free(y);
    free(slope);
}
END_TEST

/* ---- exp ---- */

/* Relative, 2^-23 is a unit in the last place; measured are 1.0e-7, with FMA 7.6e-8. */
START_TEST(exp_below_is_exact_to_a_unit) {
    const uint32_t last = bits_of(-87.0f);
    for (uint32_t bits = bits_of(-0.0f); bits <= last; bits += bits < bits_of(-1e-3f) ? 50001 : 101) {
        const float x = float_of(bits);
        expect(fabs(exp_below(x) - exp(x)) <= 0x1p-23 * exp(x), "e^%.9g is %.9g, not %.9g", x, exp_below(x), exp(x));
    }
    for (uint32_t bits = last + 1; bits <= bits_of(-INFINITY); bits += bits < bits_of(-89) ? 1 : 50001)
        expect(exp_below(float_of(bits)) == 0, "e^%.9g is %.9g", float_of(bits), exp_below(float_of(bits)));
    ck_assert(exp_below(0) == 1 && exp_below(-0.0f) == 1 && exp_below(-INFINITY) == 0);
    ck_assert(isnan(exp_below(NAN)) && isnan(exp_below(-NAN)));
}
END_TEST

int main(void) {
    const int n_isa = count_kernels();
    TCase *cases = tcase_create("vector_math");
    tcase_add_loop_test(cases, gelu_equals_its_formula_for_all_floats, 0, n_isa);
    tcase_add_loop_test(cases, gelu_slope_equals_its_formula_for_all_floats, 0, n_isa);
    tcase_add_loop_test(cases, gelu_rises_and_falls_where_its_formula_does, 0, n_isa);
    tcase_add_loop_test(cases, gelu_keeps_zeros_and_what_is_not_a_number, 0, n_isa);
    tcase_add_test(cases, exp_below_is_exact_to_a_unit);
    return run_suite("vector_math", cases);
}
