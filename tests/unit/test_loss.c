/* SPDX-License-Identifier: Apache-2.0 */
/* loss/: sums over images, with and without smoothing, of one label and of two, and the gradient that goes with
 * them. */
#include "../support.h"

enum { IMAGES = 7, CLASSES = 12, LABELS_SEED = 94 };
static const float SMOOTHING = 0.1f;

typedef struct scored {
    sd_loss *loss;
    float *logits;
    int32_t labels[IMAGES];
} scored;

static scored new_scored(void) {
    scored s = {.logits = normal_floats(IMAGES * CLASSES, 1, 0, 3)};
    for (size_t i = 0; i < IMAGES; i++)
        s.labels[i] = (int32_t)(sd_random_at(1, LABELS_SEED, i, 0).word[0] % CLASSES);
    expect_ok(sd_loss_create(&(sd_loss_spec){SMOOTHING}, best_kernels(), IMAGES, CLASSES, &s.loss));
    return s;
}

static void free_scored(scored *s) {
    sd_loss_destroy(&s->loss);
    ck_assert_ptr_null(s->loss);
    sd_loss_destroy(&s->loss);
    free(s->logits);
}

/* The softmax of image i, and how many classes score higher than its label. */
static int softmax(const scored *s, int i, double *probability) {
    const float *z = s->logits + i * CLASSES;
    double sum = 0;
    int better = 0;
    for (int c = 0; c < CLASSES; c++) {
        sum += exp(z[c]);
        better += z[c] > z[s->labels[i]];
    }
    for (int c = 0; c < CLASSES; c++)
        probability[c] = exp(z[c]) / sum;
    return better;
}

static double target(const scored *s, int i, int c, double smoothing) {
    return smoothing / CLASSES + (c == s->labels[i] ? 1 - smoothing : 0);
}

static sd_loss_sums expected_sums(const scored *s, double smoothing) {
    sd_loss_sums sums = {0};
    for (int i = 0; i < IMAGES; i++) {
        double probability[CLASSES];
        const int better = softmax(s, i, probability);
        for (int c = 0; c < CLASSES; c++)
            sums.loss -= target(s, i, c, smoothing) * log(probability[c]);
        sums.top1 += better == 0;
        sums.top5 += better < 5;
    }
    return sums;
}

static void expect_sums(const sd_loss_sums *sums, const sd_loss_sums *expected) {
    expect_number("loss", sums->loss, expected->loss, 1e-6 * (1 + fabs(expected->loss)));
    ck_assert_uint_eq(sums->top1, expected->top1);
    ck_assert_uint_eq(sums->top5, expected->top5);
}

START_TEST(training_smooths_and_scoring_does_not) {
    scored s = new_scored();
    const sd_targets targets = {.labels = s.labels};
    sd_loss_sums training = {0}, scoring = {0};
    sd_loss_forward(s.loss, IMAGES, s.logits, &targets, &training);
    sd_loss_score(s.loss, IMAGES, s.logits, &targets, &scoring);
    const sd_loss_sums smooth = expected_sums(&s, SMOOTHING), plain = expected_sums(&s, 0);
    expect_sums(&training, &smooth);
    expect_sums(&scoring, &plain);
    ck_assert_uint_lt(plain.top1, plain.top5); /* so that one is not taken for the other */
    free_scored(&s);
}
END_TEST

/* Image by image, so that a batch in two passes ends in the same bits. */
START_TEST(sums_go_on_where_they_are) {
    enum { FIRST = 3 };
    scored s = new_scored();
    const sd_targets all = {.labels = s.labels}, rest = {.labels = s.labels + FIRST};
    sd_loss_sums whole = {0}, parts = {0};
    sd_loss_forward(s.loss, IMAGES, s.logits, &all, &whole);
    sd_loss_forward(s.loss, FIRST, s.logits, &all, &parts);
    sd_loss_forward(s.loss, IMAGES - FIRST, s.logits + FIRST * CLASSES, &rest, &parts);
    ck_assert(whole.loss == parts.loss && whole.top1 == parts.top1 && whole.top5 == parts.top5);
    free_scored(&s);
}
END_TEST

START_TEST(the_gradient_is_that_of_the_mean_over_the_global_batch) {
    enum { BATCH = 5 * IMAGES };
    scored s = new_scored();
    float *dlogits = sd_loss_backward(s.loss, IMAGES, s.logits, &(sd_targets){.labels = s.labels}, BATCH);
    for (int i = 0; i < IMAGES; i++) {
        double probability[CLASSES];
        softmax(&s, i, probability);
        for (int c = 0; c < CLASSES; c++)
            expect_number("dlogits", dlogits[i * CLASSES + c], (probability[c] - target(&s, i, c, SMOOTHING)) / BATCH,
                          1e-7 / BATCH + 1e-8);
    }
    free_scored(&s);
}
END_TEST

/* The loss is linear in the targets. */
START_TEST(a_second_label_has_its_weight) {
    scored s = new_scored();
    int32_t others[IMAGES];
    float weights[IMAGES];
    for (int i = 0; i < IMAGES; i++) {
        others[i] = (s.labels[i] + 1 + i) % CLASSES;
        weights[i] = 0.25f;
    }
    sd_loss_sums label = {0}, other = {0}, both = {0};
    const sd_targets mixed = {s.labels, others, weights};
    sd_loss_forward(s.loss, IMAGES, s.logits, &(sd_targets){.labels = s.labels}, &label);
    sd_loss_forward(s.loss, IMAGES, s.logits, &(sd_targets){.labels = others}, &other);
    sd_loss_forward(s.loss, IMAGES, s.logits, &mixed, &both);
    const double expected = 0.25 * label.loss + 0.75 * other.loss;
    expect_number("loss", both.loss, expected, 1e-6 * (1 + fabs(expected)));
    ck_assert_uint_eq(both.top1, label.top1);
    free_scored(&s);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("loss");
    tcase_add_test(cases, a_second_label_has_its_weight);
    tcase_add_test(cases, training_smooths_and_scoring_does_not);
    tcase_add_test(cases, sums_go_on_where_they_are);
    tcase_add_test(cases, the_gradient_is_that_of_the_mean_over_the_global_batch);
    return run_suite("loss", cases);
}
