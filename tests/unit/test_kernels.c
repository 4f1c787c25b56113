/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/: everything but convolution and vector_math.h, for every instruction set, against formulas in double and
 * finite differences.
 *
 * Tolerances: u = 6e-8 is the rounding of one float operation. A sum of n values of about equal size is off by about
 * u sqrt(n) of its terms' root of squares; layers here sum at most a few thousand. 1e-5 relative in the 2-norm leaves
 * room for that and fails on any wrong term. */
#include "../support.h"

static const sd_kernels *k;     /* the table under test: loop index */
static int scratch_threads = 1; /* that scratch is taken for */

static void begin(int isa) {
    k = sd_kernels_at(isa);
    sd_kernels_set_threads(1);
}

static double *new_doubles(size_t n) { return calloc(n ? n : 1, sizeof(double)); }

/* Exactly as much scratch as the header promises is enough, however many threads there are when it is used; what it
 * holds at first does not matter. The guard has room for what three more threads would take. */
static size_t guard_elems(size_t n) { return 3 * n + 16; }

static sd_scratch new_guarded(size_t n) {
    sd_scratch scratch = {new_floats(n + guard_elems(n)), scratch_threads};
    for (size_t i = 0; i < n + guard_elems(n); i++)
        scratch.memory[i] = i < n ? NAN : 7;
    return scratch;
}

static void free_guarded(sd_scratch scratch, size_t n) {
    for (size_t i = n; i < n + guard_elems(n); i++)
        expect(scratch.memory[i] == 7, "scratch is written %zu values behind its end", i - n);
    free(scratch.memory);
}

static sd_scratch new_scratch(size_t rows, int c) { return new_guarded(sd_norm_scratch_elems(rows, c)); }
static void free_scratch(sd_scratch scratch, size_t rows, int c) {
    free_guarded(scratch, sd_norm_scratch_elems(rows, c));
}

/* ---- choosing a table ---- */

START_TEST(a_table_is_chosen_by_name) {
    const sd_kernels *chosen;
    for (int i = 0; sd_kernels_at(i); i++) {
        expect_ok(sd_kernels_select(sd_kernels_at(i)->name, &chosen));
        ck_assert_ptr_eq(chosen, sd_kernels_at(i));
    }
    ck_assert_str_eq(sd_kernels_at(0)->name, "ref");
    unsetenv("SD_ISA");
    expect_ok(sd_kernels_select(NULL, &chosen));
    ck_assert_ptr_eq(chosen, sd_kernels_at(count_kernels() - 1)); /* the best */
    setenv("SD_ISA", "ref", 1);
    expect_ok(sd_kernels_select(NULL, &chosen));
    ck_assert_str_eq(chosen->name, "ref");
    setenv("SD_ISA", "", 1);
    expect_ok(sd_kernels_select(NULL, &chosen));
    ck_assert_ptr_eq(chosen, sd_kernels_at(count_kernels() - 1));
    setenv("SD_ISA", "sse9", 1);
    expect_refused(sd_kernels_select(NULL, &chosen), SD_ERR_CONFIG, "sse9", "SD_ISA", "avx512", NULL);
    expect_refused(sd_kernels_select("AVX2", &chosen), SD_ERR_CONFIG, "AVX2", NULL);
}
END_TEST

START_TEST(a_table_has_every_kernel) {
    const void *kernels[(sizeof(sd_kernels) - sizeof(char *)) / sizeof(void *)];
    memcpy(kernels, (const char *)sd_kernels_at(_i) + sizeof(char *), sizeof kernels);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        expect(kernels[i], "kernel %zu of %s is missing", i, sd_kernels_at(_i)->name);
}
END_TEST

/* ---- operands and epilogues ---- */

/* Channels one less and one more than a vector, or some, of each instruction set; rows that fill no group of rows. */
static const int odd_channels[] = {1, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 19, 23, 31, 33, 35, 48, 63, 65, 67, 144};
enum { N_ODD_CHANNELS = sizeof odd_channels / sizeof odd_channels[0], MOST_CHANNELS = 144, FEW_ROWS = 9 };

START_TEST(operands_of_every_form_equal_their_formula) {
    begin(_i);
    const size_t most = FEW_ROWS * MOST_CHANNELS;
    float *u = normal_floats(most, 1, 0, 1), *v = normal_floats(most, 2, 0, 1),
          *a = normal_floats(MOST_CHANNELS, 3, 1, 1), *b = normal_floats(MOST_CHANNELS, 4, 1, 1),
          *d = normal_floats(MOST_CHANNELS, 5, 0, 1), *y = new_floats(most + 1);
    for (int s = 0; s < N_ODD_CHANNELS; s++)
        for (size_t rows = 1; rows <= FEW_ROWS; rows++)
            for (int form = 0; form < 32; form++) {
                const size_t c = (size_t)odd_channels[s];
                const sd_operand x = {.u = u,
                                      .a = form & 1 ? a : NULL,
                                      .v = form & 2 ? v : NULL,
                                      .b = form & 4 ? b : NULL,
                                      .d = form & 8 ? d : NULL,
                                      .relu = form & 16};
                y[rows * c] = 5;
                k->store_operand(rows, (int)c, &x, y);
                for (size_t e = 0; e < rows * c; e++) {
                    const double au = u[e] * (x.a ? (double)a[e % c] : 1), d_e = x.d ? d[e % c] : 0;
                    const double bv = x.v ? v[e] * (x.b ? (double)b[e % c] : 1) : 0, sum = au + bv + d_e;
                    expect_number("value", y[e], x.relu && sum < 0 ? 0 : sum, 2e-7 * (fabs(au) + fabs(bv) + fabs(d_e)));
                }
                ck_assert(y[rows * c] == 5);
            }
    free(u);
    free(v);
    free(a);
    free(b);
    free(d);
    free(y);
}
END_TEST

/* ---- batch norm ---- */

static const struct {
    size_t rows;
    int c;
} norm_shapes[] = {{2, 1},    {7, 3},     {50, 16}, {33, 17},   {1000, 20}, {3001, 64},
                   {100, 65}, {513, 100}, {9, 512}, {600, 130}, {40, 2048}};
enum { N_NORM_SHAPES = sizeof norm_shapes / sizeof norm_shapes[0] };
static const float EPSILON = 1e-5f;

static void define_statistics(size_t rows, int c, const float *x, double *mean, double *variance) {
    for (int i = 0; i < c; i++) {
        double sum = 0, square = 0;
        for (size_t r = 0; r < rows; r++)
            sum += x[r * (size_t)c + (size_t)i];
        mean[i] = sum / (double)rows;
        for (size_t r = 0; r < rows; r++)
            square += pow(x[r * (size_t)c + (size_t)i] - mean[i], 2);
        variance[i] = square / (double)rows;
    }
}

/* Batch normalisation as networks put it together. */
static void batchnorm_statistics(size_t rows, int c, float *x, float *mean, float *variance, sd_scratch scratch) {
    const sd_epilogue statistics = {.mean = mean, .variance = variance};
    k->apply_epilogue(rows, c, x, &statistics, scratch);
}

static void batchnorm_apply(size_t rows, int c, const float *x, const float *mean, const float *variance,
                            const float *gamma, const float *beta, bool relu, float *y) {
    float *a = new_floats((size_t)c), *d = new_floats((size_t)c);
    sd_batchnorm_forward(c, mean, variance, EPSILON, gamma, beta, 1, a, d);
    const sd_operand normalised = {.u = x, .a = a, .d = d, .relu = relu};
    k->store_operand(rows, c, &normalised, y);
    free(a);
    free(d);
}

/* y: NULL without a ReLU. dx may be dy. */
static void batchnorm_backward(size_t rows, int c, const float *x, const float *y, const float *dy, const float *mean,
                               const float *variance, const float *gamma, float *dx, float *dgamma, float *dbeta,
                               sd_scratch scratch) {
    const size_t channels = (size_t)c;
    float *part = new_floats(5 * channels), *a = part + 2 * channels, *b = a + channels, *d = b + channels;
    const sd_epilogue sums = {
        .mask = {.u = y}, .product = x, .product_mean = mean, .sum = part, .sum_product = part + channels};
    if (dx != dy)
        memcpy(dx, dy, rows * channels * sizeof *dx);
    k->apply_epilogue(rows, c, dx, &sums, scratch);
    sd_batchnorm_backward(rows, c, mean, variance, EPSILON, gamma, 1, sums.sum, sums.sum_product, dgamma, dbeta, a, b,
                          d);
    const sd_operand gradient = {.u = dx, .a = a, .v = x, .b = b, .d = d};
    k->store_operand(rows, c, &gradient, dx);
    free(part);
}

START_TEST(batchnorm_statistics_are_mean_and_biased_variance) {
    begin(_i);
    for (size_t s = 0; s < N_NORM_SHAPES; s++) {
        const size_t rows = norm_shapes[s].rows, c = (size_t)norm_shapes[s].c;
        float *x = normal_floats(rows * c, 1, 0.3, 1.5), *mean = new_floats(c), *variance = new_floats(c);
        const sd_scratch scratch = new_scratch(rows, (int)c);
        double *exact_mean = new_doubles(c), *exact_variance = new_doubles(c);
        batchnorm_statistics(rows, (int)c, x, mean, variance, scratch);
        define_statistics(rows, (int)c, x, exact_mean, exact_variance);
        expect_close("mean", mean, exact_mean, c, 1e-5);
        expect_close("variance", variance, exact_variance, c, 1e-5);
        free_scratch(scratch, rows, (int)c);
        free(x);
        free(mean);
        free(variance);
        free(exact_mean);
        free(exact_variance);
    }
}
END_TEST

/* Some rows at once have sums of their own, so that few rows and odd ones are cases of their own. Tolerance: of n <=
 * 131 floats of about equal size a partial sum is at most some 2 sqrt(n) of them, and each is rounded by u: 2 u sqrt(n)
 * = 1.4e-6 of the root of the sum of their squares. */
static const size_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 17, 131};
enum { N_ROW_COUNTS = sizeof row_counts / sizeof row_counts[0], MOST_ROWS = 131 };
static const double SUM_TOLERANCE = 1.4e-6;

START_TEST(statistics_of_few_rows_equal_their_formula) {
    begin(_i);
    const size_t most = MOST_ROWS * MOST_CHANNELS;
    float *y = normal_floats(most, 1, 3, 1), mean[MOST_CHANNELS], variance[MOST_CHANNELS];
    double exact_mean[MOST_CHANNELS], exact_variance[MOST_CHANNELS];
    for (int s = 0; s < N_ODD_CHANNELS; s++)
        for (int r = 0; r < N_ROW_COUNTS; r++) {
            const int c = odd_channels[s];
            const size_t rows = row_counts[r];
            const sd_scratch scratch = new_scratch(rows, c);
            const sd_epilogue statistics = {.mean = mean, .variance = variance};
            k->apply_epilogue(rows, c, y, &statistics, scratch);
            define_statistics(rows, c, y, exact_mean, exact_variance);
            for (int i = 0; i < c; i++) {
                const double scale =
                    exact_variance[i] + pow(y[i] - exact_mean[i], 2); /* of squares about the first row */
                expect_number("mean", mean[i], exact_mean[i], 2e-7 * fabs(exact_mean[i]) + SUM_TOLERANCE * sqrt(scale));
                expect_number("variance", variance[i], exact_variance[i], rows > 1 ? 2 * SUM_TOLERANCE * scale : 0);
            }
            free_scratch(scratch, rows, c);
        }
    free(y);
}
END_TEST

/* y = mask > 0 ? y + add : 0 and its sums, in every combination of add (1), mask (2) and product (4). */
static void expect_epilogue(int form, size_t rows, int channels) {
    const size_t c = (size_t)channels, n = rows * c;
    float *y = normal_floats(n + 1, 1, 0, 1), *add = normal_floats(n, 2, 0, 1), *mask = normal_floats(n, 3, 0, 1),
          *product = normal_floats(n, 4, 3, 1), *a = normal_floats(c, 5, 0, 1), *d = normal_floats(c, 6, 0, 1),
          *mean = normal_floats(c, 7, 3, 1), *sum = new_floats(c), *sum_product = new_floats(c),
          *before = new_floats(n);
    double *exact = new_doubles(c), *exact_product = new_doubles(c), *norm = new_doubles(c),
           *norm_product = new_doubles(c);
    const sd_scratch scratch = new_scratch(rows, channels);
    const sd_epilogue e = {.add = form & 1 ? add : NULL,
                           .mask = {.u = form & 2 ? mask : NULL, .a = a, .d = d},
                           .product = form & 4 ? product : NULL,
                           .product_mean = mean,
                           .sum = sum,
                           .sum_product = sum_product};
    memcpy(before, y, n * sizeof *y);
    y[n] = 5;
    k->apply_epilogue(rows, channels, y, &e, scratch);
    ck_assert(y[n] == 5);
    for (size_t i = 0; i < n; i++) {
        const size_t ch = i % c;
        const float value = before[i] + (e.add ? add[i] : 0);
        const double m = (double)mask[i] * a[ch] + d[ch], centered = (double)product[i] - mean[ch];
        if (!e.mask.u || fabs(m) > 1e-6)
            expect(y[i] == (!e.mask.u || m > 0 ? value : 0), "form %d, %zu x %zu: value %zu", form, rows, c, i);
        exact[ch] += y[i];
        norm[ch] += (double)y[i] * y[i];
        exact_product[ch] += y[i] * centered;
        norm_product[ch] += pow(y[i] * centered, 2) + pow(y[i] * 1e-1, 2); /* centered is rounded, too */
    }
    for (size_t ch = 0; ch < (e.product ? c : 0); ch++) {
        expect_number("sum", sum[ch], exact[ch], SUM_TOLERANCE * sqrt(norm[ch]));
        expect_number("sum_product", sum_product[ch], exact_product[ch], SUM_TOLERANCE * sqrt(norm_product[ch]));
    }
    free_scratch(scratch, rows, channels);
    float *floats[] = {y, add, mask, product, a, d, mean, sum, sum_product, before};
    double *doubles[] = {exact, exact_product, norm, norm_product};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
        free(doubles[i]);
}

START_TEST(epilogues_of_every_form_equal_their_formula) {
    begin(_i);
    for (int s = 0; s < N_ODD_CHANNELS; s++)
        for (int r = 0; r < N_ROW_COUNTS; r++)
            for (int form = 0; form < 8; form++)
                expect_epilogue(form, row_counts[r], odd_channels[s]);
}
END_TEST

/* Mean 1000, deviation 1: mean of squares minus square of mean would have no digit left. A float near 1000 is exact
 * to 3e-5. */
START_TEST(batchnorm_statistics_survive_a_mean_far_from_zero) {
    begin(_i);
    const size_t rows = 5000, c = 19;
    float *x = normal_floats(rows * c, 1, 1000, 1), *mean = new_floats(c), *variance = new_floats(c);
    const sd_scratch scratch = new_scratch(rows, (int)c);
    double *exact_mean = new_doubles(c), *exact_variance = new_doubles(c);
    batchnorm_statistics(rows, (int)c, x, mean, variance, scratch);
    define_statistics(rows, (int)c, x, exact_mean, exact_variance);
    for (size_t i = 0; i < c; i++) {
        expect_number("mean", mean[i], exact_mean[i], 5e-5);
        expect_number("variance", variance[i], exact_variance[i], 1e-4);
    }
    free_scratch(scratch, rows, (int)c);
    free(x);
    free(mean);
    free(variance);
    free(exact_mean);
    free(exact_variance);
}
END_TEST

START_TEST(batchnorm_of_a_constant_has_no_variance) {
    begin(_i);
    float x[60], mean[3], variance[3], y[60];
    const sd_scratch scratch = new_scratch(20, 3);
    const float gamma[3] = {1, 2, 3}, beta[3] = {0.5f, -1, 0};
    for (int i = 0; i < 60; i++)
        x[i] = i % 3 == 0 ? 1e6f : i % 3 == 1 ? -0.1f : 0;
    batchnorm_statistics(20, 3, x, mean, variance, scratch);
    batchnorm_apply(20, 3, x, mean, variance, gamma, beta, false, y);
    for (int i = 0; i < 3; i++) {
        expect_number("mean", mean[i], x[i], fabs(x[i]) * 1e-7);
        ck_assert(variance[i] == 0);
    }
    for (int i = 0; i < 60; i++)
        expect_number("y", y[i], beta[i % 3], i % 3 ? 1e-5 : 100); /* 1e6 / sqrt(epsilon) is 3e8: to 7 digits */
    free_scratch(scratch, 20, 3);
}
END_TEST

typedef struct norm_case {
    size_t rows;
    int c;
    bool relu;
    float *x, *y, *gamma, *beta, *mean, *variance, *weight, *dx, *dgamma, *dbeta;
    sd_scratch scratch;
} norm_case;

static norm_case new_norm_case(size_t rows, int c, bool relu) {
    const size_t n = rows * (size_t)c, channels = (size_t)c;
    return (norm_case){.rows = rows,
                       .c = c,
                       .relu = relu,
                       .x = normal_floats(n, 1, 0.3, 1.5),
                       .y = new_floats(n),
                       .gamma = normal_floats(channels, 2, 1, 0.3),
                       .beta = normal_floats(channels, 3, 0, 0.3),
                       .mean = new_floats(rows > channels ? rows : channels),
                       .variance = new_floats(rows > channels ? rows : channels),
                       .weight = normal_floats(n, 4, 0, 1),
                       .dx = new_floats(n),
                       .dgamma = new_floats(channels),
                       .dbeta = new_floats(channels),
                       .scratch = new_scratch(rows, c)};
}

static void free_norm_case(norm_case *n) {
    float *all[] = {n->x, n->y, n->gamma, n->beta, n->mean, n->variance, n->weight, n->dx, n->dgamma, n->dbeta};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free_scratch(n->scratch, n->rows, n->c);
}

static void batchnorm(norm_case *n) {
    batchnorm_statistics(n->rows, n->c, n->x, n->mean, n->variance, n->scratch);
    batchnorm_apply(n->rows, n->c, n->x, n->mean, n->variance, n->gamma, n->beta, n->relu, n->y);
}

START_TEST(batchnorm_equals_its_formulas) {
    begin(_i);
    for (size_t s = 0; s < N_NORM_SHAPES; s++)
        for (int relu = 0; relu < 2; relu++) {
            norm_case n = new_norm_case(norm_shapes[s].rows, norm_shapes[s].c, relu);
            const size_t c = (size_t)n.c, elems = n.rows * c;
            const double m = (double)n.rows;
            double *y = new_doubles(elems), *dx = new_doubles(elems), *dgamma = new_doubles(c), *dbeta = new_doubles(c),
                   *mean = new_doubles(c), *variance = new_doubles(c);
            batchnorm(&n);
            batchnorm_backward(n.rows, n.c, n.x, relu ? n.y : NULL, n.weight, n.mean, n.variance, n.gamma, n.dx,
                               n.dgamma, n.dbeta, n.scratch);
            define_statistics(n.rows, n.c, n.x, mean, variance);
            for (size_t e = 0; e < elems; e++) {
                size_t i = e % c;
                double xhat = (n.x[e] - mean[i]) / sqrt(variance[i] + EPSILON), value = xhat * n.gamma[i] + n.beta[i];
                double d = !relu || n.y[e] > 0 ? n.weight[e] : 0; /* the mask is the output's */
                y[e] = relu && value < 0 ? 0 : value;
                dbeta[i] += d;
                dgamma[i] += d * xhat;
            }
            for (size_t e = 0; e < elems; e++) {
                size_t i = e % c;
                double rstd = 1 / sqrt(variance[i] + EPSILON), xhat = (n.x[e] - mean[i]) * rstd;
                double d = !relu || n.y[e] > 0 ? n.weight[e] : 0;
                dx[e] = n.gamma[i] * rstd * (d - dbeta[i] / m - xhat * dgamma[i] / m);
            }
            expect_close("y", n.y, y, elems, 1e-5);
            if (n.rows > 2) /* of two rows dx is all cancellation */
                expect_close("dx", n.dx, dx, elems, 1e-5);
            expect_close("dgamma", n.dgamma, dgamma, c, 1e-5);
            expect_close("dbeta", n.dbeta, dbeta, c, 1e-5);
            free(y);
            free(dx);
            free(dgamma);
            free(dbeta);
            free(mean);
            free(variance);
            free_norm_case(&n);
        }
}
END_TEST

static double batchnorm_loss(void *context) {
    norm_case *n = context;
    batchnorm(n);
    return dot(n->y, n->weight, n->rows * (size_t)n->c);
}

/* Without a ReLU, whose kinks differences trip over; step and tolerance: a third derivative of order 1 leaves step^2 =
 * 1e-4, and the loss is exact to about 1e-7 of its terms, over a step of 1e-2. */
START_TEST(batchnorm_backward_equals_finite_differences) {
    begin(_i);
    norm_case n = new_norm_case(23, 5, false);
    const size_t elems = n.rows * (size_t)n.c;
    batchnorm(&n);
    batchnorm_backward(n.rows, n.c, n.x, NULL, n.weight, n.mean, n.variance, n.gamma, n.dx, n.dgamma, n.dbeta,
                       n.scratch);
    expect_gradient("x", batchnorm_loss, &n, n.x, n.dx, elems, 1e-2, 1e-3);
    expect_gradient("gamma", batchnorm_loss, &n, n.gamma, n.dgamma, 5, 1e-2, 1e-3);
    expect_gradient("beta", batchnorm_loss, &n, n.beta, n.dbeta, 5, 1e-2, 1e-3);
    free_norm_case(&n);
}
END_TEST

START_TEST(batchnorm_works_in_place) {
    begin(_i);
    norm_case n = new_norm_case(77, 21, true);
    const size_t elems = n.rows * (size_t)n.c;
    float *x = new_floats(elems), *dy = new_floats(elems);
    batchnorm(&n);
    memcpy(x, n.x, elems * sizeof *x);
    batchnorm_apply(n.rows, n.c, x, n.mean, n.variance, n.gamma, n.beta, true, x);
    expect_same_bits("y in x", x, n.y, elems * sizeof *x);
    batchnorm_backward(n.rows, n.c, n.x, n.y, n.weight, n.mean, n.variance, n.gamma, n.dx, n.dgamma, n.dbeta,
                       n.scratch);
    memcpy(dy, n.weight, elems * sizeof *dy);
    batchnorm_backward(n.rows, n.c, n.x, n.y, dy, n.mean, n.variance, n.gamma, dy, n.dgamma, n.dbeta, n.scratch);
    expect_same_bits("dx in dy", dy, n.dx, elems * sizeof *dy);
    free(x);
    free(dy);
    free_norm_case(&n);
}
END_TEST

START_TEST(batchnorm_hides_no_value_that_is_not_a_number) {
    begin(_i);
    norm_case n = new_norm_case(77, 21, true);
    n.x[21 * 5 + 3] = NAN;
    batchnorm(&n);
    for (size_t r = 0; r < n.rows; r++)
        expect(isnan(n.y[r * 21 + 3]) && isfinite(n.y[r * 21 + 4]), "row %zu", r);
    free_norm_case(&n);
}
END_TEST

/* ---- layer norm ---- */

static void layernorm(norm_case *n) {
    const sd_map normalise = {
        .kind = SD_MAP_NORMALISE, .mean = n->mean, .rstd = n->variance, .gamma = n->gamma, .beta = n->beta};
    k->layernorm_statistics(n->rows, n->c, n->x, 1e-6f, n->mean, n->variance /* 1 / deviation */);
    k->map(n->rows, n->c, n->x, &normalise, n->y);
}

START_TEST(layernorm_equals_its_formulas) {
    begin(_i);
    static const struct {
        size_t rows;
        int c;
    } shapes[] = {{1, 2}, {3, 7}, {37, 192}, {700, 48}, {65, 768}, {17, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        norm_case n = new_norm_case(shapes[s].rows, shapes[s].c, false);
        const size_t c = (size_t)n.c, elems = n.rows * c;
        double *y = new_doubles(elems), *dx = new_doubles(elems), *dgamma = new_doubles(c), *dbeta = new_doubles(c);
        layernorm(&n);
        k->layernorm_backward(n.rows, n.c, n.x, n.weight, n.gamma, n.mean, n.variance, NULL, n.dx, n.dgamma, n.dbeta,
                              n.scratch);
        for (size_t r = 0; r < n.rows; r++) {
            const float *x = n.x + r * c, *dy = n.weight + r * c;
            double mean = 0, square = 0, mean_g = 0, mean_gx = 0;
            for (size_t i = 0; i < c; i++)
                mean += x[i] / (double)c;
            for (size_t i = 0; i < c; i++)
                square += pow(x[i] - mean, 2) / (double)c;
            double rstd = 1 / sqrt(square + 1e-6);
            for (size_t i = 0; i < c; i++) {
                double xhat = (x[i] - mean) * rstd, g = dy[i] * n.gamma[i];
                y[r * c + i] = xhat * n.gamma[i] + n.beta[i];
                dbeta[i] += dy[i];
                dgamma[i] += dy[i] * xhat;
                mean_g += g / (double)c;
                mean_gx += g * xhat / (double)c;
            }
            for (size_t i = 0; i < c; i++)
                dx[r * c + i] = rstd * (dy[i] * n.gamma[i] - mean_g - (x[i] - mean) * rstd * mean_gx);
            expect_number("mean", n.mean[r], mean, 1e-6);
            expect_number("rstd", n.variance[r], rstd, 1e-6 * rstd);
        }
        expect_close("y", n.y, y, elems, 1e-5);
        if (n.c > 2)
            expect_close("dx", n.dx, dx, elems, 1e-5);
        if (n.c > 1)
            expect_close("dgamma", n.dgamma, dgamma, c, 1e-5);
        expect_close("dbeta", n.dbeta, dbeta, c, 1e-5);
        free(y);
        free(dx);
        free(dgamma);
        free(dbeta);
        free_norm_case(&n);
    }
}
END_TEST

static double layernorm_loss(void *context) {
    norm_case *n = context;
    layernorm(n);
    return dot(n->y, n->weight, n->rows * (size_t)n->c);
}

START_TEST(layernorm_backward_equals_finite_differences) {
    begin(_i);
    norm_case n = new_norm_case(6, 24, false);
    layernorm(&n);
    k->layernorm_backward(n.rows, n.c, n.x, n.weight, n.gamma, n.mean, n.variance, NULL, n.dx, n.dgamma, n.dbeta,
                          n.scratch);
    expect_gradient("x", layernorm_loss, &n, n.x, n.dx, n.rows * (size_t)n.c, 1e-2, 1e-3);
    expect_gradient("gamma", layernorm_loss, &n, n.gamma, n.dgamma, 24, 1e-2, 1e-3);
    expect_gradient("beta", layernorm_loss, &n, n.beta, n.dbeta, 24, 1e-2, 1e-3);
    free_norm_case(&n);
}
END_TEST

START_TEST(layernorm_backward_adds_to_another_gradient) {
    begin(_i);
    norm_case n = new_norm_case(37, 50, false);
    const size_t elems = n.rows * (size_t)n.c;
    float *sum = normal_floats(elems, 7, 0, 1), *add = normal_floats(elems, 7, 0, 1);
    layernorm(&n);
    k->layernorm_backward(n.rows, n.c, n.x, n.weight, n.gamma, n.mean, n.variance, NULL, n.dx, n.dgamma, n.dbeta,
                          n.scratch);
    k->layernorm_backward(n.rows, n.c, n.x, n.weight, n.gamma, n.mean, n.variance, sum, sum, n.dgamma, n.dbeta,
                          n.scratch);
    for (size_t i = 0; i < elems; i++)
        expect_number("the sum", sum[i], (double)add[i] + n.dx[i], 1e-6 * (1 + fabs(n.dx[i])));
    free(sum);
    free(add);
    free_norm_case(&n);
}
END_TEST

/* BERT's epsilon is 1e-12: a row without deviation is multiplied by 1e6, and stays finite, as does its gradient. */
START_TEST(layernorm_of_a_constant_is_beta) {
    begin(_i);
    norm_case n = new_norm_case(3, 64, false);
    for (size_t i = 0; i < 3 * 64; i++) {
        n.x[i] = (float)(i / 64);
        n.weight[i] = i < 64 ? n.weight[i] : 0;
    }
    const sd_map normalise = {
        .kind = SD_MAP_NORMALISE, .mean = n.mean, .rstd = n.variance, .gamma = n.gamma, .beta = n.beta};
    k->layernorm_statistics(n.rows, n.c, n.x, 1e-12f, n.mean, n.variance);
    k->map(n.rows, n.c, n.x, &normalise, n.y);
    k->layernorm_backward(n.rows, n.c, n.x, n.weight, n.gamma, n.mean, n.variance, NULL, n.dx, n.dgamma, n.dbeta,
                          n.scratch);
    for (size_t i = 0; i < 3 * 64; i++) {
        expect_number("rstd", n.variance[i / 64], 1e6, 1);
        ck_assert(n.y[i] == n.beta[i % 64]);
        ck_assert(i < 64 ? isfinite(n.dx[i]) : n.dx[i] == 0);
    }
    free_norm_case(&n);
}
END_TEST

START_TEST(layernorm_survives_a_mean_far_from_zero) {
    begin(_i);
    norm_case n = new_norm_case(5, 300, false);
    for (size_t e = 0; e < 1500; e++)
        n.x[e] += 1000;
    layernorm(&n);
    for (size_t r = 0; r < 5; r++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < 300; i++)
            mean += n.x[r * 300 + i] / 300.0;
        for (size_t i = 0; i < 300; i++)
            square += pow(n.x[r * 300 + i] - mean, 2) / 300;
        for (size_t i = 0; i < 300; i++) /* the mean is kept as a float: 3e-5 of about 1.5 */
            expect_number("y", n.y[r * 300 + i],
                          (n.x[r * 300 + i] - mean) / sqrt(square + 1e-6) * n.gamma[i] + n.beta[i], 2e-4);
    }
    free_norm_case(&n);
}
END_TEST

/* ---- pointwise ---- */

/* The sum at the end of a residual block, and back through its ReLU, as operand and epilogue of one channel. */
static void residual_add(size_t n, const float *shortcut, const float *branch, float scale, bool relu, float *y) {
    const sd_operand sum = {.u = branch, .a = &scale, .v = shortcut, .relu = relu};
    k->store_operand(n, 1, &sum, y);
}

static void relu_backward(size_t n, const float *y, float *dy) {
    const sd_epilogue masked = {.mask = sd_plain(y)};
    const sd_scratch scratch = new_scratch(n, 1);
    k->apply_epilogue(n, 1, dy, &masked, scratch);
    free_scratch(scratch, n, 1);
}

static void gelu_forward(size_t n, const float *x, float *y) {
    k->map(1, (int)n, x, &(sd_map){.kind = SD_MAP_GELU}, y);
}

static void gelu_backward(size_t n, const float *x, const float *dy, float *dx) {
    k->map(1, (int)n, dy, &(sd_map){.kind = SD_MAP_GELU_BACKWARD, .other = x}, dx);
}

static const size_t lengths[] = {0, 1, 3, 16, 17, 100, 1000, 70001}; /* the last is shared among threads */
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

START_TEST(pointwise_kernels_equal_their_formulas) {
    begin(_i);
    for (size_t s = 0; s < N_LENGTHS; s++) {
        const size_t n = lengths[s];
        float *a = normal_floats(n, 1, 0, 1), *b = normal_floats(n, 2, 0, 1), *y = new_floats(n + 1);
        for (int relu = 0; relu < 2; relu++) {
            y[n] = 5;
            residual_add(n, a, b, 0.75f, relu, y);
            for (size_t i = 0; i < n; i++) {
                double sum = a[i] + 0.75 * b[i];
                expect_number("residual_add", y[i], relu && sum < 0 ? 0 : sum, 2e-7 * (1 + fabs(a[i]) + fabs(b[i])));
            }
            ck_assert(y[n] == 5);
        }
        memcpy(y, a, n * sizeof *y);
        relu_backward(n, b, y);
        for (size_t i = 0; i < n; i++)
            expect(y[i] == (b[i] > 0 ? a[i] : 0), "relu_backward %zu", i);
        k->scale(n, 0.3f, a, y);
        for (size_t i = 0; i < n; i++)
            expect(y[i] == 0.3f * a[i], "scale %zu", i);
        memcpy(y, b, n * sizeof *y);
        k->accumulate(n, a, y);
        for (size_t i = 0; i < n; i++)
            expect(y[i] == a[i] + b[i], "accumulate %zu", i);
        ck_assert(y[n] == 5);
        free(a);
        free(b);
        free(y);
    }
}
END_TEST

START_TEST(relu_is_zero_at_zero_and_keeps_what_is_not_a_number) {
    begin(_i);
    const float a[] = {0, -0.0f, 1e-45f, -1e-45f, INFINITY, -INFINITY, NAN, 3}, zero[8] = {0};
    float y[8], dy[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    residual_add(8, a, zero, 1, true, y);
    ck_assert(y[0] == 0 && y[1] == 0 && y[2] == 1e-45f && y[3] == 0 && y[4] == INFINITY && y[5] == 0 && isnan(y[6]) &&
              y[7] == 3);
    relu_backward(8, y, dy);
    const float expected[] = {0, 0, 1, 0, 1, 0, 0, 1};
    for (int i = 0; i < 8; i++)
        ck_assert(dy[i] == expected[i] || i == 6);
}
END_TEST

START_TEST(pointwise_kernels_work_in_place) {
    begin(_i);
    const size_t n = 1003;
    float *a = normal_floats(n, 1, 0, 1), *b = normal_floats(n, 2, 0, 1), *y = new_floats(n), *z = new_floats(n);
    residual_add(n, a, b, 0.6f, true, y);
    memcpy(z, a, n * sizeof *z);
    residual_add(n, z, b, 0.6f, true, z);
    expect_same_bits("y is shortcut", z, y, n * sizeof *z);
    memcpy(z, b, n * sizeof *z);
    residual_add(n, a, z, 0.6f, true, z);
    expect_same_bits("y is branch", z, y, n * sizeof *z);
    k->scale(n, 0.6f, a, y);
    memcpy(z, a, n * sizeof *z);
    k->scale(n, 0.6f, z, z);
    expect_same_bits("scale", z, y, n * sizeof *z);
    gelu_backward(n, a, b, y);
    memcpy(z, b, n * sizeof *z);
    gelu_backward(n, a, z, z);
    expect_same_bits("gelu_backward", z, y, n * sizeof *z);
    free(a);
    free(b);
    free(y);
    free(z);
}
END_TEST

typedef struct gelu_case {
    size_t n;
    float *x, *y, *weight;
} gelu_case;

static double gelu_loss(void *context) {
    gelu_case *g = context;
    gelu_forward(g->n, g->x, g->y);
    return dot(g->y, g->weight, g->n);
}

START_TEST(gelu_backward_equals_finite_differences) {
    begin(_i);
    gelu_case g = {100, normal_floats(100, 1, 0, 1), new_floats(100), normal_floats(100, 2, 0, 1)};
    float *dx = new_floats(100);
    gelu_backward(100, g.x, g.weight, dx);
    expect_gradient("x", gelu_loss, &g, g.x, dx, 100, 1e-2, 1e-3);
    free(g.x);
    free(g.y);
    free(g.weight);
    free(dx);
}
END_TEST

/* Every instruction set has the same formulas; they differ in the last bits alone. */
START_TEST(instruction_sets_agree_on_pointwise_kernels) {
    const size_t n = 5003;
    float *a = normal_floats(n, 1, 0, 2), *b = normal_floats(n, 2, 0, 1), *y[2] = {new_floats(n), new_floats(n)};
    for (int kernel = 0; kernel < 6; kernel++) {
        for (int table = 0; table < 2; table++) {
            begin(table ? _i : 0);
            memcpy(y[table], b, n * sizeof *b);
            switch (kernel) {
            case 0:
                residual_add(n, a, b, 0.7f, true, y[table]);
                break;
            case 1:
                relu_backward(n, a, y[table]);
                break;
            case 2:
                k->scale(n, 0.7f, a, y[table]);
                break;
            case 3:
                k->accumulate(n, a, y[table]);
                break;
            case 4:
                gelu_forward(n, a, y[table]);
                break;
            default:
                gelu_backward(n, a, b, y[table]);
            }
        }
        for (size_t i = 0; i < n; i++)
            expect(fabs(y[1][i] - y[0][i]) <= 1e-6 * (1 + fabs(a[i])), "kernel %d, value %zu: %.9g, ref has %.9g",
                   kernel, i, y[1][i], y[0][i]);
    }
    free(a);
    free(b);
    free(y[0]);
    free(y[1]);
}
END_TEST

/* ---- dropout ---- */

/* drop(v) / v, word by word. */
static double dropped(const sd_dropout *dropout, size_t image, size_t row, size_t column) {
    const uint64_t place = dropout->first_image + (dropout->places ? dropout->places[image] : image);
    const uint64_t item = place << 32 | row << 16 | (column / 64 * 16 + column % 16);
    const sd_random random =
        sd_random_at(dropout->seed, SD_STREAM_HIDDEN_DROPOUT, item, (uint64_t)dropout->site << 32 | dropout->step);
    return sd_random_uniform(random.word[column / 16 % 4]) < dropout->rate ? 0 : 1 / (1 - (double)dropout->rate);
}

static const uint32_t some_places[] = {7, 0, 100000, 3000000000u, 8};
static const sd_dropout some_dropout = {.rate = 0.3f,
                                        .seed = 4000000001u,
                                        .step = 3000000007u,
                                        .site = 5,
                                        .first_image = 1000000000u,
                                        .places = some_places};

/* At the borders of the 64 columns that are decided together, and at the last row and column there may be. */
START_TEST(dropout_is_decided_by_the_words_of_philox) {
    begin(_i);
    const struct {
        size_t images, rows, c;
        float rate;
    } cases[] = {{5, 3, 1, 0.5f},      {4, 2, 15, 0.1f},     {3, 7, 63, 0.5f},
                 {2, 9, 64, 0.9f},     {1, 3, 65, 0x1p-24f}, {5, 4, 130, 0.1f},
                 {1, 1, 262144, 0.5f}, {1, 65536, 5, 0.5f},  {2, 3, 200, 1 - 0x1p-24f}};
    for (size_t s = 0; s < sizeof cases / sizeof cases[0]; s++) {
        const size_t c = cases[s].c, rows = cases[s].images * cases[s].rows;
        float *x = normal_floats(rows * c, 1, 3, 1), *y = new_floats(rows * c + 1);
        sd_dropout dropout = some_dropout;
        dropout.rate = cases[s].rate;
        y[rows * c] = 5;
        for (int placed = 0; placed < 2; placed++) {
            dropout.places = placed ? some_places : NULL;
            k->map(rows, (int)c, x,
                   &(sd_map){.kind = SD_MAP_SCALE, .scale = 1, .dropout = &dropout, .image_rows = (int)cases[s].rows},
                   y);
            for (size_t i = 0; i < rows * c; i++) {
                const size_t row = i / c;
                const double exact = x[i] * dropped(&dropout, row / cases[s].rows, row % cases[s].rows, i % c);
                expect_number("value", y[i], exact, 3e-7 * fabs(exact));
            }
        }
        ck_assert(y[rows * c] == 5);
        free(x);
        free(y);
    }
}
END_TEST

/* Each of these changes what is dropped; the rest is the same. 5 deviations of a binomial distribution. */
START_TEST(dropout_drops_its_rate_anew_at_each_step_site_place_and_seed) {
    begin(_i);
    enum { IMAGES = 2, ROWS = 50, C = 128, N = IMAGES * ROWS * C };
    sd_dropout forms[] = {some_dropout, some_dropout, some_dropout, some_dropout, some_dropout};
    forms[1].step++;
    forms[2].site++;
    forms[3].first_image += 1000;
    forms[4].seed++;
    enum { FORMS = sizeof forms / sizeof forms[0] };
    float *x = new_floats(N), *y[FORMS];
    for (int i = 0; i < N; i++)
        x[i] = 1;
    for (int f = 0; f < FORMS; f++) {
        int n_dropped = 0, both = 0;
        y[f] = new_floats(N);
        k->map(IMAGES * ROWS, C, x,
               &(sd_map){.kind = SD_MAP_SCALE, .scale = 1, .dropout = &forms[f], .image_rows = ROWS}, y[f]);
        for (int i = 0; i < N; i++) {
            n_dropped += y[f][i] == 0;
            both += y[f][i] == 0 && y[0][i] == 0;
        }
        expect_number("dropped", n_dropped, 0.3 * N, 5 * sqrt(0.3 * 0.7 * N));
        if (f > 0)
            expect_number("dropped in both", both, 0.09 * N, 5 * sqrt(0.09 * 0.91 * N));
    }
    for (int f = 0; f < FORMS; f++)
        free(y[f]);
    free(x);
}
END_TEST

/* ---- linear ---- */

/* A map of every kind, the first two with dropout, and none, for a matrix [rows, c]. */
enum { KINDS = SD_MAP_TANH_BACKWARD + 1, N_MAPS = KINDS + 3, IMAGE_ROWS = 13 };

typedef struct map_case {
    sd_map map;
    sd_dropout dropout;
    const sd_map *pointer; /* to it, or NULL */
    float *other, *mean, *rstd, *gamma, *beta;
} map_case;

static void init_map(map_case *m, int kind, size_t rows, size_t c, uint32_t stream) {
    m->other = normal_floats(rows * c, stream, 0, 1);
    m->mean = normal_floats(rows, stream + 1, 0, 0.3);
    m->rstd = normal_floats(rows, stream + 2, 1, 0.1);
    m->gamma = normal_floats(c, stream + 3, 1, 0.3);
    m->beta = normal_floats(c, stream + 4, 0, 0.3);
    m->dropout = some_dropout;
    m->dropout.places = NULL;
    m->map = (sd_map){.kind = (sd_map_kind)(kind % KINDS),
                      .scale = 0.7f,
                      .other = m->other,
                      .mean = m->mean,
                      .rstd = m->rstd,
                      .gamma = m->gamma,
                      .beta = m->beta,
                      .dropout = kind < KINDS ? NULL : &m->dropout,
                      .image_rows = IMAGE_ROWS};
    m->pointer = kind == N_MAPS - 1 ? NULL : &m->map;
}

static void free_map(map_case *m) {
    float *all[] = {m->other, m->mean, m->rstd, m->gamma, m->beta};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static double mapped(const map_case *m, size_t c, size_t r, size_t j, double v) {
    const double other = m->other[r * c + j];
    if (!m->pointer)
        return v;
    if (m->map.dropout)
        v *= dropped(m->map.dropout, r / IMAGE_ROWS, r % IMAGE_ROWS, j);
    switch (m->map.kind) {
    case SD_MAP_SCALE:
        return m->map.scale * v;
    case SD_MAP_ADD:
        return other + m->map.scale * v;
    case SD_MAP_NORMALISE:
        return (v - m->mean[r]) * m->rstd[r] * m->gamma[j] + m->beta[j];
    case SD_MAP_GELU:
        return v * 0.5 * erfc(-v / sqrt(2.0));
    case SD_MAP_TANH:
        return tanh(v);
    case SD_MAP_TANH_BACKWARD:
        return v * (1 - other * other);
    default:
        return v * (0.5 * erfc(-other / sqrt(2.0)) + other * exp(-0.5 * other * other) / sqrt(2 * M_PI));
    }
}

typedef struct linear_shape {
    size_t rows;
    int in, out;
} linear_shape;

static const linear_shape linear_shapes[] = {{1, 1, 1},      {2, 3, 5},       {7, 64, 10},    {300, 33, 17},
                                             {600, 48, 300}, {513, 9, 6},     {5, 300, 100},  {169, 32, 16},
                                             {43, 16, 32},   {337, 192, 576}, {170, 768, 192}};

/* All three results with maps of these kinds on x, y and dy (dx has y's kind), against sums in double. */
static void check_linear(linear_shape shape, int x_kind, int y_kind, int dy_kind) {
    const size_t rows = shape.rows, in = (size_t)shape.in, out = (size_t)shape.out;
    const size_t n_scratch = sd_linear_scratch_elems(shape.in, shape.out, scratch_threads);
    float *x = normal_floats(rows * in, 1, 0, 1), *w = normal_floats(out * in, 2, 0, 1),
          *bias = normal_floats(out, 3, 0, 1), *dy = normal_floats(rows * out, 4, 0, 1), *y = new_floats(rows * out),
          *dx = new_floats(rows * in), *dw = new_floats(out * in), *dbias = new_floats(out);
    const sd_scratch scratch = new_guarded(n_scratch);
    double *x0 = new_doubles(rows * in), *dy0 = new_doubles(rows * out), *y0 = new_doubles(rows * out),
           *dx0 = new_doubles(rows * in), *dw0 = new_doubles(out * in), *dbias0 = new_doubles(out);
    map_case x_map, y_map, dy_map, dx_map;
    init_map(&x_map, x_kind, rows, in, 10);
    init_map(&y_map, y_kind, rows, out, 20);
    init_map(&dy_map, dy_kind, rows, out, 30);
    init_map(&dx_map, y_kind, rows, in, 40);
    k->linear_forward(rows, shape.in, shape.out, x, x_map.pointer, w, bias, y, y_map.pointer, scratch);
    k->linear_backward(rows, shape.in, shape.out, x, x_map.pointer, dy, dy_map.pointer, w, dx, dx_map.pointer, dw,
                       dbias, scratch);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < in; i++)
            x0[r * in + i] = mapped(&x_map, in, r, i, x[r * in + i]);
        for (size_t o = 0; o < out; o++) {
            const double d = dy0[r * out + o] = mapped(&dy_map, out, r, o, dy[r * out + o]);
            double sum = bias[o];
            dbias0[o] += d;
            for (size_t i = 0; i < in; i++) {
                sum += x0[r * in + i] * w[o * in + i];
                dx0[r * in + i] += d * w[o * in + i];
                dw0[o * in + i] += d * x0[r * in + i];
            }
            y0[r * out + o] = mapped(&y_map, out, r, o, sum);
        }
        for (size_t i = 0; i < in; i++)
            dx0[r * in + i] = mapped(&dx_map, in, r, i, dx0[r * in + i]);
    }
    expect_close("y", y, y0, rows * out, 1e-5);
    expect_close("dx", dx, dx0, rows * in, 1e-5);
    expect_close("dw", dw, dw0, out * in, 1e-5);
    expect_close("dbias", dbias, dbias0, out, 1e-5);
    free_guarded(scratch, n_scratch);
    free_map(&x_map);
    free_map(&y_map);
    free_map(&dy_map);
    free_map(&dx_map);
    void *all[] = {x, w, bias, dy, y, dx, dw, dbias, x0, dy0, y0, dx0, dw0, dbias0};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

START_TEST(linear_equals_its_formulas) {
    begin(_i);
    for (size_t s = 0; s < sizeof linear_shapes / sizeof linear_shapes[0]; s++)
        check_linear(linear_shapes[s], N_MAPS - 1, N_MAPS - 1, N_MAPS - 1);
}
END_TEST

START_TEST(linear_maps_what_it_reads_and_writes) {
    begin(_i);
    for (int kind = 0; kind < N_MAPS; kind++)
        for (int s = 3; s < 8; s++)
            check_linear(linear_shapes[s], kind, (kind + 1) % N_MAPS, (kind + 2) % N_MAPS);
}
END_TEST

START_TEST(linear_hides_no_value_that_is_not_a_number) {
    begin(_i);
    const size_t rows = 200, in = 20, out = 40;
    float *x = normal_floats(rows * in, 1, 0, 1), *w = normal_floats(out * in, 2, 0, 1), *y = new_floats(rows * out),
          *dy = normal_floats(rows * out, 3, 0, 1), *dx = new_floats(rows * in), *dw = new_floats(out * in),
          *dbias = new_floats(out);
    const size_t n_scratch = sd_linear_scratch_elems((int)in, (int)out, scratch_threads);
    const sd_scratch scratch = new_guarded(n_scratch);
    const sd_map gelu = {.kind = SD_MAP_GELU};
    x[190 * in + 17] = NAN;
    dy[3 * out + 33] = NAN;
    k->linear_forward(rows, (int)in, (int)out, x, &gelu, w, w, y, NULL, scratch);
    k->linear_backward(rows, (int)in, (int)out, x, &gelu, dy, NULL, w, dx, NULL, dw, dbias, scratch);
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < out; o++)
            expect(isnan(y[r * out + o]) == (r == 190), "y %zu %zu", r, o);
        for (size_t i = 0; i < in; i++)
            expect(isnan(dx[r * in + i]) == (r == 3), "dx %zu %zu", r, i);
    }
    for (size_t o = 0; o < out; o++) {
        expect(isnan(dbias[o]) == (o == 33), "dbias %zu", o);
        for (size_t i = 0; i < in; i++)
            expect(isnan(dw[o * in + i]) == (o == 33 || i == 17), "dw %zu %zu", o, i);
    }
    free_guarded(scratch, n_scratch);
    float *all[] = {x, w, y, dy, dx, dw, dbias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}
END_TEST

typedef struct linear_case {
    float *x, *w, *bias, *y, *weight;
    sd_scratch scratch;
} linear_case;

static double linear_loss(void *context) {
    linear_case *l = context;
    k->linear_forward(9, 8, 6, l->x, NULL, l->w, l->bias, l->y, NULL, l->scratch);
    return dot(l->y, l->weight, 54);
}

START_TEST(linear_backward_equals_finite_differences) {
    begin(_i);
    linear_case l = {normal_floats(72, 1, 0, 1), normal_floats(48, 2, 0, 1),
                     normal_floats(6, 3, 0, 1),  new_floats(54),
                     normal_floats(54, 4, 0, 1), new_guarded(sd_linear_scratch_elems(8, 6, scratch_threads))};
    float *dx = new_floats(72), *dw = new_floats(48), *dbias = new_floats(6);
    k->linear_backward(9, 8, 6, l.x, NULL, l.weight, NULL, l.w, dx, NULL, dw, dbias, l.scratch);
    expect_gradient("x", linear_loss, &l, l.x, dx, 72, 0.1, 1e-3);
    expect_gradient("w", linear_loss, &l, l.w, dw, 48, 0.1, 1e-3);
    expect_gradient("bias", linear_loss, &l, l.bias, dbias, 6, 0.1, 1e-3);
    free_guarded(l.scratch, sd_linear_scratch_elems(8, 6, scratch_threads));
    float *all[] = {l.x, l.w, l.bias, l.y, l.weight, dx, dw, dbias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}
END_TEST

/* ---- attention ---- */

typedef struct attention_case {
    int images, tokens, heads, dim; /* dim: of a head */
    const int32_t *lengths;
    sd_dropout dropout;
    size_t n_qkv, n_y, n_scratch;
    float *qkv, *y, *weight, *dqkv;
    sd_scratch scratch;
} attention_case;

/* n values, and some behind them that kernels leave as they are. */
enum { GUARD = 64 };

static float *new_with_guard(size_t n) {
    float *x = new_floats(n + GUARD);
    for (size_t i = 0; i < GUARD; i++)
        x[n + i] = 7;
    return x;
}

static void expect_nothing_behind(const float *x, size_t n) {
    for (size_t i = 0; i < GUARD; i++)
        expect(x[n + i] == 7, "value %zu behind %zu is %g", i, n, x[n + i]);
}

static attention_case new_attention(int images, int tokens, int heads, int dim, double deviation) {
    attention_case a = {.images = images, .tokens = tokens, .heads = heads, .dim = dim};
    a.n_y = (size_t)images * (size_t)tokens * (size_t)heads * (size_t)dim;
    a.n_qkv = 3 * a.n_y;
    a.qkv = normal_floats(a.n_qkv, 1, 0, deviation);
    a.weight = normal_floats(a.n_y, 2, 0, 1);
    a.n_scratch = sd_attention_scratch_elems(tokens, dim, scratch_threads);
    a.scratch = new_guarded(a.n_scratch);
    a.y = new_with_guard(a.n_y);
    a.dqkv = new_with_guard(a.n_qkv);
    return a;
}

static void free_attention(attention_case *a) {
    free_guarded(a->scratch, a->n_scratch);
    float *all[] = {a->qkv, a->y, a->weight, a->dqkv};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static sd_attention attention_of(const attention_case *a) {
    return (sd_attention){a->images, a->tokens, a->heads, a->dim, a->lengths, a->dropout};
}

static double attention_loss(void *context) {
    attention_case *a = context;
    const sd_attention attention = attention_of(a);
    k->attention_forward(&attention, a->qkv, a->y, a->scratch);
    return dot(a->y, a->weight, a->n_y);
}

static void attention_backward(attention_case *a) {
    const sd_attention attention = attention_of(a);
    k->attention_backward(&attention, a->qkv, a->weight, a->dqkv, a->scratch);
}

/* The place of element d of query (0), key (1) or value (2) of a token: [images, tokens, 3, heads, dim]. */
static size_t qkv_at(const attention_case *a, int image, int token, int which, int head, int d) {
    return (size_t)((((image * a->tokens + token) * 3 + which) * a->heads + head) * a->dim + d);
}

static size_t y_at(const attention_case *a, int image, int token, int head, int d) {
    return (size_t)(((image * a->tokens + token) * a->heads + head) * a->dim + d);
}

/* P = softmax(q k^T / sqrt(dim)), D = drop(P), y = D v; dv = D^T dy; dP = drop(dy v^T); dS = P (dP - sum(P dP)); dq =
 * dS k / sqrt(dim); dk = dS^T q / sqrt(dim), for the tokens before the image's length. */
static void define_attention(const attention_case *a, double *y, double *dqkv) {
    const double scale = 1 / sqrt(a->dim);
    double *row = new_doubles((size_t)a->tokens), *dp = new_doubles((size_t)a->tokens);
    for (int n = 0; n < a->images; n++)
        for (int h = 0; h < a->heads; h++)
            for (int i = 0, length = a->lengths ? a->lengths[n] : a->tokens; i < length; i++) {
                double most = -INFINITY, sum = 0, mean = 0;
                for (int j = 0; j < length; j++) {
                    row[j] = 0;
                    for (int d = 0; d < a->dim; d++)
                        row[j] += scale * a->qkv[qkv_at(a, n, i, 0, h, d)] * a->qkv[qkv_at(a, n, j, 1, h, d)];
                    most = fmax(most, row[j]);
                }
                for (int j = 0; j < length; j++)
                    sum += row[j] = exp(row[j] - most);
                for (int j = 0; j < length; j++) {
                    const double factor =
                        dropped(&a->dropout, (size_t)n, (size_t)(h << 10 | i / 16), (size_t)(j << 4 | i % 16));
                    row[j] /= sum;
                    dp[j] = 0;
                    for (int d = 0; d < a->dim; d++) {
                        const double v = a->qkv[qkv_at(a, n, j, 2, h, d)], dy = a->weight[y_at(a, n, i, h, d)];
                        y[y_at(a, n, i, h, d)] += factor * row[j] * v;
                        dqkv[qkv_at(a, n, j, 2, h, d)] += factor * row[j] * dy;
                        dp[j] += factor * dy * v;
                    }
                    mean += row[j] * dp[j];
                }
                for (int j = 0; j < length; j++)
                    for (int d = 0; d < a->dim; d++) {
                        const double ds = scale * row[j] * (dp[j] - mean);
                        dqkv[qkv_at(a, n, i, 0, h, d)] += ds * a->qkv[qkv_at(a, n, j, 1, h, d)];
                        dqkv[qkv_at(a, n, j, 1, h, d)] += ds * a->qkv[qkv_at(a, n, i, 0, h, d)];
                    }
            }
    free(row);
    free(dp);
}

static const int attention_shapes[][4] = {{2, 5, 3, 7},   {1, 17, 3, 64}, {3, 1, 1, 8},    {2, 65, 2, 16},
                                          {1, 65, 2, 64}, {2, 32, 2, 40}, {2, 30, 1, 65},  {1, 197, 1, 33},
                                          {1, 23, 2, 48}, {1, 12, 1, 1},  {1, 512, 1, 32}, {4, 128, 2, 64}};
enum { N_ATTENTION_SHAPES = sizeof attention_shapes / sizeof attention_shapes[0], MOST_IMAGES = 5 };

static attention_case new_attention_at(size_t shape) {
    const int *s = attention_shapes[shape];
    return new_attention(s[0], s[1], s[2], s[3], 1);
}

static void expect_attention(attention_case *a) {
    double *y = new_doubles(a->n_y), *dqkv = new_doubles(a->n_qkv);
    attention_loss(a);
    attention_backward(a);
    define_attention(a, y, dqkv);
    expect_close("y", a->y, y, a->n_y, 1e-5);
    expect_close("dqkv", a->dqkv, dqkv, a->n_qkv, 1e-5);
    expect_nothing_behind(a->y, a->n_y);
    expect_nothing_behind(a->dqkv, a->n_qkv);
    free(y);
    free(dqkv);
}

START_TEST(attention_equals_its_formulas) {
    begin(_i);
    for (size_t s = 0; s < N_ATTENTION_SHAPES; s++) {
        attention_case a = new_attention_at(s);
        expect_attention(&a);
        free_attention(&a);
    }
}
END_TEST

START_TEST(attention_with_dropout_equals_its_formulas) {
    begin(_i);
    for (size_t s = 0; s < N_ATTENTION_SHAPES; s++) {
        attention_case a = new_attention_at(s);
        a.dropout = some_dropout;
        expect_attention(&a);
        free_attention(&a);
    }
}
END_TEST

/* What is behind the lengths is not a number before, and zero afterwards. */
START_TEST(attention_sees_no_token_behind_the_length) {
    begin(_i);
    for (size_t s = 0; s < 2 * N_ATTENTION_SHAPES; s++) {
        attention_case a = new_attention_at(s / 2);
        int32_t lengths[MOST_IMAGES];
        for (int n = 0; n < a.images; n++) {
            lengths[n] = n == 0 ? (a.tokens + 1) / 2 : n == 1 ? 1 : n == 2 ? a.tokens : a.tokens - 1;
            for (int t = lengths[n]; t < a.tokens; t++)
                for (int d = 0; d < a.heads * a.dim; d++)
                    a.qkv[qkv_at(&a, n, t, 0, 0, d)] = a.qkv[qkv_at(&a, n, t, 1, 0, d)] =
                        a.qkv[qkv_at(&a, n, t, 2, 0, d)] = a.weight[y_at(&a, n, t, 0, d)] = NAN;
        }
        a.lengths = lengths;
        if (s % 2)
            a.dropout = some_dropout;
        expect_attention(&a);
        for (int n = 0; n < a.images; n++)
            for (int t = lengths[n]; t < a.tokens; t++)
                for (int d = 0; d < a.heads * a.dim; d++)
                    ck_assert(a.y[y_at(&a, n, t, 0, d)] == 0 && a.dqkv[qkv_at(&a, n, t, 0, 0, d)] == 0 &&
                              a.dqkv[qkv_at(&a, n, t, 1, 0, d)] == 0 && a.dqkv[qkv_at(&a, n, t, 2, 0, d)] == 0);
        free_attention(&a);
    }
}
END_TEST

/* A text's values do not depend on how much padding there is behind it, to the bit. */
START_TEST(attention_of_a_padded_text_has_the_bits_of_the_text_alone) {
    begin(_i);
    attention_case alone = new_attention(1, 37, 2, 32, 1), padded = new_attention(1, 90, 2, 32, 1);
    const int32_t length = 37;
    alone.dropout = padded.dropout = some_dropout;
    padded.lengths = &length;
    memcpy(padded.qkv, alone.qkv, alone.n_qkv * sizeof(float));
    memcpy(padded.weight, alone.weight, alone.n_y * sizeof(float));
    attention_loss(&alone);
    attention_loss(&padded);
    attention_backward(&alone);
    attention_backward(&padded);
    expect_same_bits("y", padded.y, alone.y, alone.n_y * sizeof(float));
    expect_same_bits("dqkv", padded.dqkv, alone.dqkv, alone.n_qkv * sizeof(float));
    free_attention(&alone);
    free_attention(&padded);
}
END_TEST

START_TEST(attention_backward_equals_finite_differences) {
    begin(_i);
    attention_case a = new_attention(2, 4, 2, 5, 1);
    attention_loss(&a);
    attention_backward(&a);
    expect_gradient("qkv", attention_loss, &a, a.qkv, a.dqkv, a.n_qkv, 1e-2, 1e-3);
    const int32_t lengths[] = {3, 4};
    a.lengths = lengths;
    a.dropout = some_dropout;
    attention_loss(&a);
    attention_backward(&a);
    expect_gradient("qkv", attention_loss, &a, a.qkv, a.dqkv, a.n_qkv, 1e-2, 1e-3);
    free_attention(&a);
}
END_TEST

START_TEST(attention_with_huge_scores_picks_one_token) {
    begin(_i);
    attention_case a = new_attention(1, 6, 2, 8, 300); /* scores of 1e5: e^score is no float */
    attention_loss(&a);
    attention_backward(&a);
    for (int token = 0; token < 6; token++)
        for (int head = 0; head < 2; head++) {
            double nearest = INFINITY; /* of the values */
            for (int key = 0; key < 6; key++) {
                double distance = 0;
                for (int d = 0; d < 8; d++)
                    distance =
                        fmax(distance, fabs(a.y[y_at(&a, 0, token, head, d)] - a.qkv[qkv_at(&a, 0, key, 2, head, d)]));
                nearest = fmin(nearest, distance);
            }
            expect_number("distance from a token's value", nearest, 0, 1e-6 * 300);
        }
    for (size_t i = 0; i < a.n_qkv; i++)
        expect(isfinite(a.dqkv[i]), "dqkv %zu", i);
    free_attention(&a);
}
END_TEST

/* One number a head: q = 1, so that scores are the keys. The last key is the one that is looked at: v = 1 there, 0
 * elsewhere. */
static float weight_of_last_key(int tokens, float score) {
    attention_case a = new_attention(1, tokens, 1, 1, 1);
    for (int t = 0; t < tokens; t++) {
        a.qkv[qkv_at(&a, 0, t, 0, 0, 0)] = 1;
        a.qkv[qkv_at(&a, 0, t, 1, 0, 0)] = t == tokens - 1 ? score : 0;
        a.qkv[qkv_at(&a, 0, t, 2, 0, 0)] = t == tokens - 1;
    }
    attention_loss(&a);
    const float y = a.y[tokens - 1]; /* in the last slice of queries */
    free_attention(&a);
    return y;
}

START_TEST(attention_weights_are_the_softmax_of_scores) {
    begin(_i);
    for (int tokens = 2; tokens <= 19; tokens += 17)
        for (float score = -86; score <= 86; score += 0.37f) {
            const double expected = 1 / (1 + (tokens - 1) * exp(-score));
            expect_number("weight", weight_of_last_key(tokens, score), expected, 1e-6 * expected);
        }
}
END_TEST

START_TEST(attention_gives_a_score_of_minus_infinity_no_weight_and_hides_no_nan) {
    begin(_i);
    for (int tokens = 2; tokens <= 19; tokens += 17) {
        ck_assert(weight_of_last_key(tokens, -INFINITY) == 0);
        ck_assert(weight_of_last_key(tokens, -200) < 1e-37f);
        ck_assert(isnan(weight_of_last_key(tokens, NAN)));
        ck_assert(isnan(weight_of_last_key(tokens, INFINITY)));
    }
}
END_TEST

/* ---- pooling ---- */

static const int pool_shapes[][4] = {{2, 7, 5, 3}, {1, 8, 8, 16}, {3, 1, 1, 4}, {2, 2, 3, 17}, {1, 15, 16, 40}};
enum { N_POOL_SHAPES = 5 };

/* Values from few, so that ties are many; all below zero, so that a padding of zeros would win. */
static float *tied_floats(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = -1.0f - (float)sd_random_index(sd_random_at(1, 93, i, 0).word[0], 4);
    return x;
}

START_TEST(maxpool_takes_the_first_maximum_of_each_window) {
    begin(_i);
    for (int s = 0; s < N_POOL_SHAPES; s++) {
        const int images = pool_shapes[s][0], h = pool_shapes[s][1], w = pool_shapes[s][2], c = pool_shapes[s][3];
        const int oh = (h + 1) / 2, ow = (w + 1) / 2;
        const size_t nx = (size_t)(images * h * w * c), ny = (size_t)(images * oh * ow * c);
        float *x = tied_floats(nx), *y = new_floats(ny), *dy = normal_floats(ny, 1, 0, 1),
              *dx = normal_floats(nx, 2, 0, 1);
        double *y0 = new_doubles(ny), *dx0 = new_doubles(nx);
        k->maxpool_forward(images, h, w, c, x, y);
        k->maxpool_backward(images, h, w, c, x, dy, dx);
        for (int n = 0; n < images; n++)
            for (int p = 0; p < oh; p++)
                for (int q = 0; q < ow; q++)
                    for (int ch = 0; ch < c; ch++) {
                        double most = -INFINITY;
                        int winner = -1, at = ((n * oh + p) * ow + q) * c + ch;
                        for (int i = 2 * p - 1; i <= 2 * p + 1; i++)
                            for (int j = 2 * q - 1; j <= 2 * q + 1; j++) {
                                int from = ((n * h + i) * w + j) * c + ch;
                                if (i >= 0 && i < h && j >= 0 && j < w && x[from] > most) {
                                    most = x[from];
                                    winner = from;
                                }
                            }
                        y0[at] = most;
                        dx0[winner] += dy[at];
                    }
        expect_close("y", y, y0, ny, 0);
        expect_close("dx", dx, dx0, nx, 1e-6);
        free(x);
        free(y);
        free(dy);
        free(dx);
        free(y0);
        free(dx0);
    }
}
END_TEST

START_TEST(maxpool_hides_no_value_that_is_not_a_number) {
    begin(_i);
    for (int place = 0; place < 9; place++) { /* the window of output (1, 1) of 5 x 5 */
        float x[25], y[9];
        for (int i = 0; i < 25; i++)
            x[i] = (float)i;
        x[(1 + place / 3) * 5 + 1 + place % 3] = NAN;
        k->maxpool_forward(1, 5, 5, 1, x, y);
        ck_assert(isnan(y[4]));
    }
}
END_TEST

typedef struct pool_case {
    float *x, *y, *weight;
} pool_case;

static double maxpool_loss(void *context) {
    pool_case *p = context;
    k->maxpool_forward(2, 7, 6, 5, p->x, p->y);
    return dot(p->y, p->weight, 2 * 4 * 3 * 5);
}

static double avgpool_loss(void *context) {
    pool_case *p = context;
    k->avgpool_forward(2, 7 * 6, 5, p->x, p->y);
    return dot(p->y, p->weight, 2 * 5);
}

static double subsample_loss(void *context) {
    pool_case *p = context;
    k->subsample_forward(2, 7, 6, 5, 2, 8, p->x, p->y);
    return dot(p->y, p->weight, 2 * 4 * 3 * 8);
}

/* The step is small against the distance of values: no maximum changes hands but by chance. */
START_TEST(pooling_backward_equals_finite_differences) {
    begin(_i);
    pool_case p = {normal_floats(420, 1, 0, 10), new_floats(192), normal_floats(192, 2, 0, 1)};
    float *dx = new_floats(420);
    k->maxpool_backward(2, 7, 6, 5, p.x, p.weight, dx);
    expect_gradient("maxpool", maxpool_loss, &p, p.x, dx, 420, 0.02, 1e-3);
    k->avgpool_backward(2, 42, 5, p.weight, dx);
    expect_gradient("avgpool", avgpool_loss, &p, p.x, dx, 420, 1, 1e-3);
    k->subsample_backward(2, 7, 6, 5, 2, 8, p.weight, dx);
    expect_gradient("subsample", subsample_loss, &p, p.x, dx, 420, 1, 1e-3);
    free(p.x);
    free(p.y);
    free(p.weight);
    free(dx);
}
END_TEST

START_TEST(avgpool_is_the_mean_over_pixels) {
    begin(_i);
    static const int shapes[][3] = {{1, 1, 1}, {3, 49, 20}, {2, 1000, 33}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const size_t images = (size_t)shapes[s][0], pixels = (size_t)shapes[s][1], c = (size_t)shapes[s][2];
        float *x = normal_floats(images * pixels * c, 1, 0.5, 1), *y = new_floats(images * c),
              *dx = new_floats(images * pixels * c);
        double *y0 = new_doubles(images * c), *dx0 = new_doubles(images * pixels * c);
        k->avgpool_forward((int)images, (int)pixels, (int)c, x, y);
        for (size_t i = 0; i < images * pixels * c; i++)
            y0[i / (pixels * c) * c + i % c] += x[i] / (double)pixels;
        expect_close("y", y, y0, images * c, 1e-5);
        k->avgpool_backward((int)images, (int)pixels, (int)c, y, dx);
        for (size_t i = 0; i < images * pixels * c; i++)
            dx0[i] = y[i / (pixels * c) * c + i % c] / (double)pixels;
        expect_close("dx", dx, dx0, images * pixels * c, 1e-6);
        free(x);
        free(y);
        free(dx);
        free(y0);
        free(dx0);
    }
}
END_TEST

START_TEST(subsampling_takes_every_second_pixel_and_appends_zero_channels) {
    begin(_i);
    static const int shapes[][6] = {{2, 8, 8, 16, 2, 32}, {1, 7, 5, 3, 2, 3}, {2, 5, 6, 4, 1, 9}, {1, 7, 8, 2, 3, 5}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int images = shapes[s][0], h = shapes[s][1], w = shapes[s][2], c = shapes[s][3], stride = shapes[s][4],
                  wide = shapes[s][5], oh = (h + stride - 1) / stride, ow = (w + stride - 1) / stride;
        const size_t nx = (size_t)(images * h * w * c), ny = (size_t)(images * oh * ow * wide);
        float *x = normal_floats(nx, 1, 0, 1), *y = new_floats(ny), *dx = normal_floats(nx, 2, 0, 1);
        k->subsample_forward(images, h, w, c, stride, wide, x, y);
        k->subsample_backward(images, h, w, c, stride, wide, y,
                              dx); /* of its own output: x where it was taken, else 0 */
        for (int n = 0; n < images; n++)
            for (int i = 0; i < h; i++)
                for (int j = 0; j < w; j++)
                    for (int ch = 0; ch < wide; ch++) {
                        bool taken = i % stride == 0 && j % stride == 0;
                        float from = ch < c ? x[((n * h + i) * w + j) * c + ch] : 0;
                        if (taken)
                            expect(y[((n * oh + i / stride) * ow + j / stride) * wide + ch] == from, "y at %d %d %d", i,
                                   j, ch);
                        if (ch < c)
                            expect(dx[((n * h + i) * w + j) * c + ch] == (taken ? from : 0), "dx at %d %d %d", i, j,
                                   ch);
                    }
        free(x);
        free(y);
        free(dx);
    }
}
END_TEST

/* ---- cross entropy ---- */

typedef struct loss_case {
    size_t rows;
    int classes;
    float smoothing, scale;
    float *logits, *loss, *dlogits, *weights;
    int32_t *labels, *others, *rank;
    sd_targets targets;
} loss_case;

/* Two classes a row if mixed: some rows have one of them alone (weight 0, 1), some the same one twice. */
static loss_case new_loss(size_t rows, int classes, float smoothing, double deviation, bool mixed) {
    const size_t n = rows * (size_t)classes;
    loss_case l = {.rows = rows,
                   .classes = classes,
                   .smoothing = smoothing,
                   .scale = 1.0f / (float)rows,
                   .logits = normal_floats(n, 1, 0, deviation),
                   .loss = new_floats(rows),
                   .dlogits = new_floats(n),
                   .weights = new_floats(rows),
                   .labels = calloc(rows, sizeof(int32_t)),
                   .others = calloc(rows, sizeof(int32_t)),
                   .rank = calloc(rows, sizeof(int32_t))};
    for (size_t r = 0; r < rows; r++) {
        const sd_random random = sd_random_at(1, 94, r, 0);
        l.labels[r] = (int32_t)(random.word[0] % (uint32_t)classes);
        l.others[r] = r % 5 == 4 ? l.labels[r] : (int32_t)(random.word[1] % (uint32_t)classes);
        l.weights[r] = r < 2 ? (float)r : (float)sd_random_uniform(random.word[2]);
    }
    l.targets.labels = l.labels;
    if (mixed) {
        l.targets.others = l.others;
        l.targets.weights = l.weights;
    }
    return l;
}

static void free_loss(loss_case *l) {
    free(l->logits);
    free(l->loss);
    free(l->dlogits);
    free(l->weights);
    free(l->labels);
    free(l->others);
    free(l->rank);
}

/* The target of a class, before smoothing. */
static double target_of(const loss_case *l, size_t r, int class) {
    const double one = class == l->labels[r], other = class == l->others[r];
    return l->targets.others ? l->weights[r] * one + (1.0 - l->weights[r]) * other : one;
}

static void score(loss_case *l) {
    k->cross_entropy_forward(l->rows, l->classes, l->logits, &l->targets, l->smoothing, l->loss, l->rank);
    k->cross_entropy_backward(l->rows, l->classes, l->logits, &l->targets, l->smoothing, l->scale, l->dlogits);
}

static double cross_entropy_loss(void *context) {
    loss_case *l = context;
    double sum = 0;
    k->cross_entropy_forward(l->rows, l->classes, l->logits, &l->targets, l->smoothing, l->loss, l->rank);
    for (size_t r = 0; r < l->rows; r++)
        sum += l->loss[r];
    return sum * l->scale;
}

/* -sum q log softmax(z) with q = (1 - s) p + s / classes, p: one label's onehot, or the mean of two: the sum written
 * out. */
START_TEST(cross_entropy_equals_its_formula) {
    begin(_i);
    const float smoothings[] = {0, 0.1f, 0.9f};
    for (int s = 0; s < 6; s++)
        for (int classes = 1; classes <= 1000; classes = classes * 3 + 1) {
            loss_case l = new_loss(11, classes, smoothings[s % 3], 3, s >= 3);
            double *gradient = new_doubles(l.rows * (size_t)classes);
            score(&l);
            for (size_t r = 0; r < l.rows; r++) {
                const float *z = l.logits + r * (size_t)classes;
                double sum = 0, loss = 0;
                int higher = 0;
                for (int i = 0; i < classes; i++)
                    sum += exp(z[i]);
                for (int i = 0; i < classes; i++) {
                    double q = (1.0 - l.smoothing) * target_of(&l, r, i) + (double)l.smoothing / classes;
                    loss -= q * log(exp(z[i]) / sum);
                    higher += z[i] > z[l.labels[r]];
                    gradient[r * (size_t)classes + (size_t)i] = l.scale * (exp(z[i]) / sum - q);
                }
                expect_number("loss", l.loss[r], loss, 1e-6 * (1 + fabs(loss)));
                ck_assert_int_eq(l.rank[r], higher);
            }
            for (size_t i = 0; i < l.rows * (size_t)classes; i++)
                expect_number("dlogits", l.dlogits[i], gradient[i], 1e-7 * l.scale + 1e-6 * fabs(gradient[i]));
            free(gradient);
            free_loss(&l);
        }
}
END_TEST

START_TEST(cross_entropy_backward_equals_finite_differences) {
    begin(_i);
    for (int s = 0; s < 4; s++) {
        loss_case l = new_loss(7, 12, s % 2 ? 0.1f : 0, 1, s >= 2);
        score(&l);
        expect_gradient("logits", cross_entropy_loss, &l, l.logits, l.dlogits, 84, 1e-2, 1e-3);
        free_loss(&l);
    }
}
END_TEST

START_TEST(a_rank_counts_equal_scores_before_the_label) {
    begin(_i);
    const float logits[4][5] = {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, {3, 2, 2, 1, 2}, {0, 0, 0, 0, 9}};
    const int32_t labels[4] = {0, 4, 2, 1}, expected[4] = {0, 4, 2, 2};
    float loss[4];
    int32_t rank[4];
    k->cross_entropy_forward(4, 5, logits[0], &(sd_targets){.labels = labels}, 0, loss, rank);
    for (int r = 0; r < 4; r++)
        ck_assert_int_eq(rank[r], expected[r]);
}
END_TEST

/* Few classes too: with 3 classes n_better would be at most 2 if it were a mere count, and the row top-5 correct. */
START_TEST(a_score_that_is_not_finite_makes_its_row_wrong_for_top_1_and_top_5) {
    begin(_i);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int classes = 2; classes <= 12; classes++)
        for (int value = 0; value < 3; value++)
            for (int place = 0; place <= classes; place++) { /* classes: all of them */
                float logits[12] = {0, 50}, loss;
                const int32_t label = 1;
                int32_t n_better;
                k->cross_entropy_forward(1, classes, logits, &(sd_targets){.labels = &label}, 0.1f, &loss, &n_better);
                ck_assert_int_eq(n_better, 0);
                for (int i = 0; i < classes; i++)
                    logits[i] = place == i || place == classes ? bad[value] : logits[i];
                k->cross_entropy_forward(1, classes, logits, &(sd_targets){.labels = &label}, 0.1f, &loss, &n_better);
                expect(n_better >= 5, "%g at %d of %d classes: n_better %d", bad[value], place, classes, n_better);
                expect(!isfinite(loss), "%g at %d of %d classes: loss %g", bad[value], place, classes, loss);
            }
}
END_TEST

/* torch.nn.functional.cross_entropy(torch.tensor([[1., 2., -inf, 0.5]]), torch.tensor([0])) in double: the class of
 * -inf has probability 0, so loss = log(e^1 + e^2 + e^0.5) - 1 = 1.4643681, and d loss / d logits = softmax - onehot =
 * (0.2312239 - 1, 0.6285318, 0, 0.1402443). Of the label itself, -inf costs inf; with smoothing, every class has a
 * share in the loss and -inf of any class costs inf. */
START_TEST(a_score_of_minus_infinity_costs_what_it_costs_in_torch) {
    begin(_i);
    const float logits[4] = {1, 2, -INFINITY, 0.5f};
    const double gradient[4] = {0.2312239 - 1, 0.6285318, 0, 0.1402443};
    const int32_t label = 0, worst = 2;
    float loss, dlogits[4];
    int32_t n_better;
    k->cross_entropy_forward(1, 4, logits, &(sd_targets){.labels = &label}, 0, &loss, &n_better);
    k->cross_entropy_backward(1, 4, logits, &(sd_targets){.labels = &label}, 0, 1, dlogits);
    expect_number("loss", loss, 1.4643681, 1e-6);
    for (int i = 0; i < 4; i++)
        expect_number("dlogits", dlogits[i], gradient[i], 1e-6);
    k->cross_entropy_forward(1, 4, logits, &(sd_targets){.labels = &worst}, 0, &loss, &n_better);
    expect(loss == INFINITY, "a label whose score is -inf costs %g", loss);
    k->cross_entropy_forward(1, 4, logits, &(sd_targets){.labels = &label}, 0.1f, &loss, &n_better);
    expect(loss == INFINITY, "with smoothing, a score of -inf costs %g", loss);
}
END_TEST

/* A class of weight 0 has no part in the loss, whatever its score. */
START_TEST(a_second_label_without_weight_costs_nothing) {
    begin(_i);
    const float logits[4] = {1, 2, -INFINITY, 0.5f}, one = 1, zero = 0;
    const int32_t label = 0, worst = 2;
    float loss;
    int32_t n_better;
    k->cross_entropy_forward(1, 4, logits, &(sd_targets){&label, &worst, &one}, 0, &loss, &n_better);
    expect_number("the label alone", loss, 1.4643681, 1e-6);
    k->cross_entropy_forward(1, 4, logits, &(sd_targets){&worst, &label, &zero}, 0, &loss, &n_better);
    expect_number("the other alone", loss, 1.4643681, 1e-6);
}
END_TEST

START_TEST(huge_scores_have_a_finite_loss) {
    begin(_i);
    const float logits[3][3] = {{1e30f, 0, -1e30f}, {3e38f, -3e38f, 3e38f}, {-1e38f, -1e38f, -1e38f}};
    const int32_t labels[3] = {0, 0, 1};
    float loss[3], dlogits[9];
    int32_t rank[3];
    k->cross_entropy_forward(3, 3, logits[0], &(sd_targets){.labels = labels}, 0, loss, rank);
    k->cross_entropy_backward(3, 3, logits[0], &(sd_targets){.labels = labels}, 0, 1, dlogits);
    expect_number("a sure one", loss[0], 0, 0);
    expect_number("one of two", loss[1], log(2), 1e30); /* 3e38 + log 2 is no number a double can tell from 3e38 */
    expect_number("one of three", loss[2], log(3), 1e30);
    for (int i = 0; i < 9; i++)
        ck_assert(isfinite(dlogits[i]) && fabsf(dlogits[i]) <= 1);
    expect_number("its gradient", dlogits[3], -0.5, 1e-6);
    const float moderate[2] = {1e4f, 1e4f + 1};
    const int32_t label = 1;
    k->cross_entropy_forward(1, 2, moderate, &(sd_targets){.labels = &label}, 0, loss, rank);
    expect_number("a shift changes nothing", loss[0], log(1 + exp(-1)), 1e-6);
}
END_TEST

/* ---- threads ---- */

/* Runs every kernel that is parallel on shapes large enough to be shared, into one buffer. */
static size_t run_all(float *out) {
    float *at = out;
    const size_t rows = 3001, c = 70, n = rows * c;
    norm_case b = new_norm_case(rows, (int)c, true);
#define TAKE(from, elems)                                                                                              \
    do {                                                                                                               \
        memcpy(at, from, (elems) * sizeof *at);                                                                        \
        at += (elems);                                                                                                 \
    } while (0)
    batchnorm(&b);
    batchnorm_backward(rows, b.c, b.x, b.y, b.weight, b.mean, b.variance, b.gamma, b.dx, b.dgamma, b.dbeta, b.scratch);
    TAKE(b.mean, c);
    TAKE(b.variance, c);
    TAKE(b.y, n);
    TAKE(b.dx, n);
    TAKE(b.dgamma, c);
    TAKE(b.dbeta, c);
    layernorm(&b);
    k->layernorm_backward(rows, b.c, b.x, b.weight, b.gamma, b.mean, b.variance, NULL, b.dx, b.dgamma, b.dbeta,
                          b.scratch);
    TAKE(b.y, n);
    TAKE(b.mean, rows);
    TAKE(b.dx, n);
    TAKE(b.dgamma, c);
    TAKE(b.dbeta, c);
    residual_add(n, b.x, b.weight, 0.7f, true, b.y);
    TAKE(b.y, n);
    relu_backward(n, b.x, b.y);
    k->accumulate(n, b.weight, b.y);
    k->scale(n, 0.7f, b.y, b.y);
    TAKE(b.y, n);
    k->map(rows, (int)c, b.x, &(sd_map){.kind = SD_MAP_GELU}, b.y);
    TAKE(b.y, n);
    k->map(rows, (int)c, b.weight, &(sd_map){.kind = SD_MAP_GELU_BACKWARD, .other = b.x}, b.y);
    TAKE(b.y, n);
    const sd_map drop = {.kind = SD_MAP_SCALE, .scale = 1, .dropout = &some_dropout, .image_rows = 1000};
    k->map(rows, (int)c, b.x, &drop, b.y);
    TAKE(b.y, n);
    const size_t n_scratch = sd_linear_scratch_elems((int)c, 300, scratch_threads);
    const sd_scratch scratch = new_guarded(n_scratch);
    const sd_map gelu = {.kind = SD_MAP_GELU}, add = {.kind = SD_MAP_ADD, .scale = 0.5f, .other = b.x};
    float *w = normal_floats(c * 300, 9, 0, 1), *wide = new_floats(rows * 300), *dw = new_floats(300 * c),
          *dbias = new_floats(300);
    k->linear_forward(rows, (int)c, 300, b.x, &gelu, w, w, wide, NULL, scratch);
    k->linear_backward(rows, (int)c, 300, b.x, &gelu, wide, NULL, w, b.dx, &add, dw, dbias, scratch);
    TAKE(wide, rows * 300);
    TAKE(b.dx, n);
    TAKE(dw, 300 * c);
    TAKE(dbias, 300);
    free_guarded(scratch, n_scratch);
    free(w);
    free(wide);
    free(dw);
    free(dbias);
    attention_case a = new_attention(3, 50, 3, 16, 1);
    attention_loss(&a);
    attention_backward(&a);
    TAKE(a.y, a.n_y);
    TAKE(a.dqkv, a.n_qkv);
    a.lengths = (const int32_t[]){50, 3, 20};
    a.dropout = some_dropout;
    attention_loss(&a);
    attention_backward(&a);
    TAKE(a.y, a.n_y);
    TAKE(a.dqkv, a.n_qkv);
    free_attention(&a);
    float *pooled = new_floats(n);
    k->maxpool_forward(5, 21, 20, 70, b.x, pooled);
    TAKE(pooled, 5 * 11 * 10 * 70);
    k->maxpool_backward(5, 21, 20, 70, b.x, b.weight, pooled);
    TAKE(pooled, 5 * 21 * 20 * 70);
    k->avgpool_forward(5, 420, 70, b.x, pooled);
    TAKE(pooled, 5 * 70);
    k->avgpool_backward(5, 420, 70, b.x, pooled);
    TAKE(pooled, 5 * 420 * 70);
    k->subsample_forward(5, 21, 20, 70, 2, 72, b.x, pooled);
    TAKE(pooled, 5 * 11 * 10 * 72);
    k->cross_entropy_forward(rows, (int)c, b.x, &(sd_targets){.labels = (const int32_t[3001]){0}}, 0.1f, pooled,
                             (int32_t[3001]){0});
    TAKE(pooled, rows);
    k->cross_entropy_backward(rows, (int)c, b.x, &(sd_targets){.labels = (const int32_t[3001]){0}}, 0.1f, 0.5f, pooled);
    TAKE(pooled, n);
    free(pooled);
    free_norm_case(&b);
#undef TAKE
    return (size_t)(at - out);
}

START_TEST(bits_do_not_depend_on_threads) {
    begin(_i);
    const size_t room = 13 * 3001 * 70 + 4 * 3001 * 300;
    float *one = new_floats(room), *many = new_floats(room);
    const size_t n = run_all(one);
    ck_assert_uint_lt(n, room);
    for (int threads = 2; threads <= 4; threads++) {
        sd_kernels_set_threads(scratch_threads = threads);
        run_all(many);
        expect_same_bits("all kernels", one, many, n * sizeof *one);
    }
    for (scratch_threads = 1; scratch_threads <= 3; scratch_threads += 2) { /* as taken before the number was set */
        run_all(many);
        expect_same_bits("all kernels, scratch for fewer threads", one, many, n * sizeof *one);
    }
    free(one);
    free(many);
}
END_TEST

int main(void) {
    const int n_isa = count_kernels();
    TCase *cases = tcase_create("kernels");
    tcase_add_test(cases, a_table_is_chosen_by_name);
    tcase_add_loop_test(cases, a_table_has_every_kernel, 0, n_isa);
    tcase_add_loop_test(cases, operands_of_every_form_equal_their_formula, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_statistics_are_mean_and_biased_variance, 0, n_isa);
    tcase_add_loop_test(cases, statistics_of_few_rows_equal_their_formula, 0, n_isa);
    tcase_add_loop_test(cases, epilogues_of_every_form_equal_their_formula, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_statistics_survive_a_mean_far_from_zero, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_of_a_constant_has_no_variance, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_works_in_place, 0, n_isa);
    tcase_add_loop_test(cases, batchnorm_hides_no_value_that_is_not_a_number, 0, n_isa);
    tcase_add_loop_test(cases, layernorm_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, layernorm_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, layernorm_backward_adds_to_another_gradient, 0, n_isa);
    tcase_add_loop_test(cases, layernorm_of_a_constant_is_beta, 0, n_isa);
    tcase_add_loop_test(cases, layernorm_survives_a_mean_far_from_zero, 0, n_isa);
    tcase_add_loop_test(cases, pointwise_kernels_equal_their_formulas, 0, n_isa);
    tcase_add_loop_test(cases, relu_is_zero_at_zero_and_keeps_what_is_not_a_number, 0, n_isa);
    tcase_add_loop_test(cases, pointwise_kernels_work_in_place, 0, n_isa);
    tcase_add_loop_test(cases, gelu_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, instruction_sets_agree_on_pointwise_kernels, 1, n_isa);
    tcase_add_loop_test(cases, dropout_is_decided_by_the_words_of_philox, 0, n_isa);
    tcase_add_loop_test(cases, dropout_drops_its_rate_anew_at_each_step_site_place_and_seed, 0, n_isa);
    tcase_add_loop_test(cases, linear_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, linear_maps_what_it_reads_and_writes, 0, n_isa);
    tcase_add_loop_test(cases, linear_hides_no_value_that_is_not_a_number, 0, n_isa);
    tcase_add_loop_test(cases, linear_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, attention_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, attention_with_dropout_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, attention_sees_no_token_behind_the_length, 0, n_isa);
    tcase_add_loop_test(cases, attention_of_a_padded_text_has_the_bits_of_the_text_alone, 0, n_isa);
    tcase_add_loop_test(cases, attention_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, attention_with_huge_scores_picks_one_token, 0, n_isa);
    tcase_add_loop_test(cases, attention_weights_are_the_softmax_of_scores, 0, n_isa);
    tcase_add_loop_test(cases, attention_gives_a_score_of_minus_infinity_no_weight_and_hides_no_nan, 0, n_isa);
    tcase_add_loop_test(cases, maxpool_takes_the_first_maximum_of_each_window, 0, n_isa);
    tcase_add_loop_test(cases, maxpool_hides_no_value_that_is_not_a_number, 0, n_isa);
    tcase_add_loop_test(cases, pooling_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, avgpool_is_the_mean_over_pixels, 0, n_isa);
    tcase_add_loop_test(cases, subsampling_takes_every_second_pixel_and_appends_zero_channels, 0, n_isa);
    tcase_add_loop_test(cases, cross_entropy_equals_its_formula, 0, n_isa);
    tcase_add_loop_test(cases, cross_entropy_backward_equals_finite_differences, 0, n_isa);
    tcase_add_loop_test(cases, a_rank_counts_equal_scores_before_the_label, 0, n_isa);
    tcase_add_loop_test(cases, a_score_that_is_not_finite_makes_its_row_wrong_for_top_1_and_top_5, 0, n_isa);
    tcase_add_loop_test(cases, a_score_of_minus_infinity_costs_what_it_costs_in_torch, 0, n_isa);
    tcase_add_loop_test(cases, a_second_label_without_weight_costs_nothing, 0, n_isa);
    tcase_add_loop_test(cases, huge_scores_have_a_finite_loss, 0, n_isa);
    tcase_add_loop_test(cases, bits_do_not_depend_on_threads, 0, n_isa);
    return run_suite("kernels", cases);
}
