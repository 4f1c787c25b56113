/* SPDX-License-Identifier: Apache-2.0 */
/* dist/wire.c: bf16 against its definition in double; that error feedback loses nothing; that statistics are not
 * rounded. */
#include <float.h>

#include "../../src/dist/wire.h"
#include "../support.h"

enum { WORDS = 1 << 16, ODD = 1003, SPECIALS = 6 };

static bool same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

/* The nearest number of 8 significant bits (fewer below 2^-126), ties to even; infinite from 2^128 on. */
static double rounded(double x) {
    if (x == 0 || !isfinite(x))
        return x;
    const int exponent = ilogb(x) < -126 ? -126 : ilogb(x);
    const double nearest = ldexp(nearbyint(ldexp(x, 7 - exponent)), exponent - 7);
    return fabs(nearest) >= 0x1p128 ? copysign(INFINITY, x) : nearest;
}

START_TEST(every_word_is_the_number_its_bits_say) {
    for (uint32_t word = 0; word < WORDS; word++) {
        const int exponent = (int)(word >> 7 & 255);
        const double fraction = (double)(word & 127) / 128, sign = word >> 15 ? -1 : 1;
        const float value = sd_bf16_value((uint16_t)word);
        if (exponent == 255 && fraction > 0) {
            expect(isnan(value) && sd_bf16_of(value) == 0x7fc0, "%04x is a NaN and becomes the one NaN", word);
            continue;
        }
        const double expected = exponent == 255 ? INFINITY
                                : exponent == 0 ? ldexp(fraction, -126)
                                                : ldexp(1 + fraction, exponent - 127);
        expect(value == sign * expected && !!signbit(value) == (sign < 0), "%04x is %g, not %g", word, value,
               sign * expected);
        expect(sd_bf16_of(value) == word, "%04x becomes %04x", word, sd_bf16_of(value));
    }
}
END_TEST

START_TEST(rounding_is_to_nearest_ties_to_even) {
    static const uint32_t lower[] = {0, 1, 2, 0x4000, 0x7fff, 0x8000, 0x8001, 0xc000, 0xfffe, 0xffff};
    for (uint32_t upper = 0; upper < WORDS; upper++)
        for (size_t i = 0; i < sizeof lower / sizeof *lower; i++) {
            const float x = float_of(upper << 16 | lower[i]), y = sd_bf16_value(sd_bf16_of(x));
            expect(isnan(x) ? isnan(y) : same_bits(y, (float)rounded(x)), "%a becomes %a, not %a", x, y, rounded(x));
        }
}
END_TEST

START_TEST(a_sum_is_rounded_once_more_and_commutes) {
    static const uint16_t ends[] = {0x0000, 0x8000, 0x0001, 0x007f, 0x0080, 0x3f80, 0xbf80, 0x3f81, 0x3b80,
                                    0x4b00, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0x7f81, 0x4049};
    static uint16_t all[WORDS], ab[WORDS], ba[WORDS];
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
        for (uint32_t word = 0; word < WORDS; word++) {
            all[word] = ab[word] = (uint16_t)word;
            ba[word] = ends[e];
        }
        sd_wire_add(WORDS, ba, ab);
        sd_wire_add(WORDS, all, ba);
        for (uint32_t word = 0; word < WORDS; word++) {
            const float a = sd_bf16_value((uint16_t)word), b = sd_bf16_value(ends[e]), sum = sd_bf16_value(ab[word]);
            const float exact = (float)((double)a + b);
            expect(ab[word] == ba[word], "%04x + %04x does not commute", word, ends[e]);
            expect(isnan(exact) ? isnan(sum) : same_bits(sum, (float)rounded(exact)), "%a + %a = %a", a, b, sum);
        }
    }
}
END_TEST

START_TEST(what_is_sent_and_its_error_are_what_was_given) {
    float *gradient = normal_floats(ODD, 1, 0, 1), *error = normal_floats(ODD, 2, 0, 0.002), *before = new_floats(ODD);
    uint16_t words[ODD];
    bool some = false;
    for (size_t i = 0; i < ODD; i++)
        gradient[i] = ldexpf(gradient[i], (int)(i % 240) - 130); /* also where floats are denormal */
    memcpy(before, error, ODD * sizeof *error);
    sd_wire_compress(ODD, gradient, error, words);
    for (size_t i = 0; i < ODD; i++) {
        const float v = gradient[i] + before[i];
        expect((double)sd_bf16_value(words[i]) == rounded(v), "value %zu: %a is sent for %a", i,
               sd_bf16_value(words[i]), v);
        expect((double)sd_bf16_value(words[i]) + error[i] == v, "value %zu: %a and %a do not make %a", i,
               sd_bf16_value(words[i]), error[i], v);
        some |= error[i] != 0;
    }
    ck_assert(some);
    free(gradient);
    free(error);
    free(before);
}
END_TEST

/* Gradients are multiples of 2^-15 below 4, so that no float addition rounds, and over the steps nothing may be
 * missing. */
START_TEST(over_many_steps_nothing_is_lost) {
    enum { STEPS = 50 };
    float *error = new_floats(ODD), *gradient = new_floats(ODD);
    double given[ODD] = {0}, sent[ODD] = {0}, without[ODD] = {0};
    uint16_t words[ODD];
    size_t differ = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < ODD; i++) {
            const uint32_t random = sd_random_at(SUPPORT_SEED, 7, i, step).word[0];
            gradient[i] = ldexpf((float)((int)(random >> 14) - (1 << 17)), -15);
            given[i] += gradient[i];
            without[i] += rounded(gradient[i]);
        }
        sd_wire_compress(ODD, gradient, error, words);
        for (size_t i = 0; i < ODD; i++)
            sent[i] += sd_bf16_value(words[i]);
    }
    for (size_t i = 0; i < ODD; i++) {
        expect(sent[i] + error[i] == given[i], "value %zu: %.9g was given, %.9g sent, the error is %.9g", i, given[i],
               sent[i], error[i]);
        expect(fabs(error[i]) <= 0x1p-7, "value %zu: an error of %.9g, more than rounding takes once", i, error[i]);
        differ += without[i] != given[i];
    }
    expect(differ > ODD / 2, "without feedback only %zu values would be wrong: the test shows nothing", differ);
    memset(gradient, 0, ODD * sizeof *gradient);
    sd_wire_flush_error(ODD, gradient, error);
    for (size_t i = 0; i < ODD; i++)
        expect(sent[i] + gradient[i] == given[i] && error[i] == 0, "value %zu: %g is added, %g still kept back", i,
               gradient[i], error[i]);
    free(error);
    free(gradient);
}
END_TEST

START_TEST(what_is_not_finite_leaves_no_error) {
    const float gradient[SPECIALS] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1};
    float error[SPECIALS] = {0.5f, 0.5f, 0.5f, 0, 0, NAN};
    const uint16_t expected[SPECIALS] = {0x7fc0, 0x7f80, 0xff80, 0x7f80, 0xff80, 0x7fc0};
    uint16_t words[SPECIALS];
    float back[SPECIALS];
    sd_wire_compress(SPECIALS, gradient, error, words);
    sd_wire_expand(SPECIALS, words, back);
    for (int i = 0; i < SPECIALS; i++) {
        expect(words[i] == expected[i], "%g is sent as %04x, not %04x", gradient[i], words[i], expected[i]);
        expect(error[i] == 0, "%g leaves an error of %g", gradient[i], error[i]);
        expect(isfinite(back[i]) == 0, "%g comes back as %g", gradient[i], back[i]);
    }
}
END_TEST

START_TEST(statistics_go_round_the_words) {
    sd_network *network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 2);
    const size_t n = sd_network_buffer_elems(network);
    float *given = normal_floats(n, 3, 0, 1), *gradients = sd_network_gradients(network);
    sd_drop_plan plan = keep_all(sd_network_n_units(network));
    sd_drop_part part;
    sd_wire wire = {0};
    expect_ok(sd_drop_part_create(plan.units, 2, &part));
    expect_ok(sd_wire_create(network, false, &wire));
    for (int i = 0; i < plan.units; i++)
        part.images[i] = 2;
    plan.kept[2] = 0;   /* dropped for all */
    part.images[4] = 0; /* not computed on this rank */
    memcpy(gradients, given, n * sizeof *given);
    sd_wire_take_statistics(&wire, network, &plan, &part);
    expect(wire.statistics_elems > 0 && wire.statistics_elems < wire.max_statistics_elems, "%zu of %zu statistics",
           wire.statistics_elems, wire.max_statistics_elems);
    for (size_t i = 0; i < wire.statistics_elems; i++)
        wire.statistics[i] *= 2; /* as if another rank had the same */
    for (int returned = 0; returned < 2; returned++) {
        for (int t = 0; t < sd_network_n_tensors(network); t++) {
            const sd_tensor *tensor = sd_network_tensor(network, t);
            const int unit = sd_network_segment(network, tensor->segment)->unit;
            const bool moved = tensor->kind == SD_TENSOR_STATISTIC && unit != 2;
            for (size_t i = 0; i < tensor->elems; i++) {
                const float mine = given[tensor->offset_elems + i];
                const float expected = !moved ? mine : returned && unit != 4 ? 2 * mine : 0;
                expect(gradient_of(network, tensor)[i] == expected, "%s[%zu] is %g, not %g, %s", tensor->name, i,
                       gradient_of(network, tensor)[i], expected, returned ? "at the end" : "in between");
            }
        }
        sd_wire_return_statistics(&wire, network, &plan);
    }
    sd_wire_free(&wire);
    sd_drop_part_free(&part);
    sd_drop_plan_free(&plan);
    sd_network_destroy(&network);
    free(given);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("wire");
    tcase_add_test(cases, every_word_is_the_number_its_bits_say);
    tcase_add_test(cases, rounding_is_to_nearest_ties_to_even);
    tcase_add_test(cases, a_sum_is_rounded_once_more_and_commutes);
    tcase_add_test(cases, what_is_sent_and_its_error_are_what_was_given);
    tcase_add_test(cases, over_many_steps_nothing_is_lost);
    tcase_add_test(cases, what_is_not_finite_leaves_no_error);
    tcase_add_test(cases, statistics_go_round_the_words);
    return run_suite("wire", cases);
}
