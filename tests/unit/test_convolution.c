/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/: the three convolution passes of every instruction set against the definition, in double. */
#include "../support.h"

enum { GUARD = 64 };            /* values behind a buffer that must stay as they are */
static int scratch_threads = 1; /* that scratch is taken for */
static const float MARK = -12345.5f;

/* Odd sizes and channel counts, so that every edge of every tile is met. */
static const sd_conv2d shapes[] = {
    {.images = 2, .h = 7, .w = 5, .c = 3, .k = 5, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 3, .h = 9, .w = 11, .c = 17, .k = 19, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 1, .h = 1, .w = 3, .c = 1, .k = 1, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 5, .h = 1, .w = 1, .c = 48, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 2, .h = 18, .w = 18, .c = 64, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1, .direct = true},
    {.images = 2, .h = 33, .w = 32, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1}, /* bands of rows ... */
    {.images = 9, .h = 7, .w = 7, .c = 48, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},   /* ... of whole images */
    {.images = 1, .h = 2, .w = 15, .c = 16, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 3, .h = 9, .w = 9, .c = 16, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 1, .h = 60, .w = 28, .c = 80, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 3, .h = 7, .w = 7, .c = 256, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1, .direct = true},
    /* Winograd: whole tiles, partial ones, blocks within an image, over images, of many channels */
    {.images = 3, .h = 16, .w = 16, .c = 32, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 9, .h = 7, .w = 6, .c = 48, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 2, .h = 33, .w = 30, .c = 32, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 5, .h = 14, .w = 14, .c = 64, .k = 256, .r = 3, .s = 3, .stride = 1, .pad = 1},
    /* ... its backward pass: one block, fewer blocks than chunks, more, of which the last is a part */
    {.images = 1, .h = 10, .w = 9, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 1, .h = 21, .w = 26, .c = 64, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 5, .h = 23, .w = 30, .c = 16, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1},
    {.images = 1, .h = 9, .w = 1024, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1}, /* the widest ... */
    {.images = 1, .h = 9, .w = 1029, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1}, /* ... too wide */
    {.images = 1, .h = 8, .w = 8, .c = 16, .k = 32, .r = 3, .s = 3, .stride = 2, .pad = 1},
    {.images = 2, .h = 7, .w = 9, .c = 16, .k = 33, .r = 3, .s = 3, .stride = 2, .pad = 1},
    {.images = 3, .h = 6, .w = 6, .c = 128, .k = 15, .r = 3, .s = 3, .stride = 2, .pad = 1},
    {.images = 2, .h = 15, .w = 13, .c = 3, .k = 24, .r = 7, .s = 7, .stride = 2, .pad = 3},
    {.images = 2, .h = 9, .w = 9, .c = 6, .k = 7, .r = 7, .s = 7, .stride = 1, .pad = 3},
    {.images = 2, .h = 8, .w = 6, .c = 32, .k = 16, .r = 1, .s = 1, .stride = 1, .pad = 0},
    {.images = 2, .h = 7, .w = 7, .c = 20, .k = 12, .r = 1, .s = 1, .stride = 2, .pad = 0},
    {.images = 9, .h = 14, .w = 13, .c = 100, .k = 520, .r = 1, .s = 1, .stride = 2, .pad = 0}, /* two chunks */
    {.images = 3, .h = 19, .w = 17, .c = 48, .k = 32, .r = 1, .s = 1, .stride = 1, .pad = 0},
    {.images = 2, .h = 8, .w = 8, .c = 3, .k = 40, .r = 4, .s = 4, .stride = 4, .pad = 0},  /* patches */
    {.images = 2, .h = 9, .w = 10, .c = 3, .k = 5, .r = 4, .s = 4, .stride = 4, .pad = 0},  /* ... that leave a rim */
    {.images = 2, .h = 10, .w = 11, .c = 5, .k = 6, .r = 2, .s = 2, .stride = 3, .pad = 0}, /* pixels that none sees */
    {.images = 2, .h = 6, .w = 7, .c = 4, .k = 9, .r = 3, .s = 1, .stride = 1, .pad = 1},   /* not square */
    {.images = 1, .h = 64, .w = 64, .c = 3, .k = 8, .r = 32, .s = 32, .stride = 32, .pad = 0}, /* the most taps */
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static size_t x_elems(const sd_conv2d *c) { return (size_t)c->images * (size_t)c->h * (size_t)c->w * (size_t)c->c; }
static size_t w_elems(const sd_conv2d *c) { return (size_t)c->r * (size_t)c->s * (size_t)c->c * (size_t)c->k; }
static size_t y_elems(const sd_conv2d *c) {
    return (size_t)c->images * (size_t)sd_conv2d_out_h(c) * (size_t)sd_conv2d_out_w(c) * (size_t)c->k;
}

/* The header's formula and its two derivatives, in double: y, dx, dw (each zeroed before). */
static void define(const sd_conv2d *c, const float *x, const float *w, const float *dy, double *y, double *dx,
                   double *dw) {
    const int oh = sd_conv2d_out_h(c), ow = sd_conv2d_out_w(c);
    for (int n = 0; n < c->images; n++)
        for (int p = 0; p < oh; p++)
            for (int q = 0; q < ow; q++)
                for (int i = 0; i < c->r; i++)
                    for (int j = 0; j < c->s; j++)
                        for (int ch = 0; ch < c->c; ch++) {
                            const int h = p * c->stride + i - c->pad, v = q * c->stride + j - c->pad;
                            if (h < 0 || h >= c->h || v < 0 || v >= c->w)
                                continue;
                            const size_t at_x = (size_t)(((n * c->h + h) * c->w + v) * c->c + ch);
                            const size_t at_w = (size_t)((i * c->s + j) * c->c + ch) * (size_t)c->k;
                            const size_t at_y = (size_t)((n * oh + p) * ow + q) * (size_t)c->k;
                            for (size_t o = 0; o < (size_t)c->k; o++) {
                                y[at_y + o] += (double)x[at_x] * w[at_w + o];
                                dx[at_x] += (double)dy[at_y + o] * w[at_w + o];
                                dw[at_w + o] += (double)dy[at_y + o] * x[at_x];
                            }
                        }
}

/* n values that are not numbers, and a guard. */
static float *unwritten(size_t n) {
    float *x = new_floats(n + GUARD);
    for (size_t i = 0; i < n + GUARD; i++)
        x[i] = i < n ? NAN : MARK;
    return x;
}

static void expect_guard(const char *what, const float *x, size_t n) {
    for (size_t i = n; i < n + GUARD; i++)
        expect(x[i] == MARK, "%s is written %zu values behind its end", what, i - n);
}

/* The direct tolerance (derived below), times 11 for Winograd's F(4x4, 3x3): with independent inputs and weights of
 * variance 1, point (i, j) of M has the variance m_i m_j, m_i = sum of squares of row i of B^T times that of row i of G
 * = 2.6, 2.8, 2.8, 0.36, 0.36, 42; it is rounded relative to its size, and output (r, s) adds up a_ri^2 a_sj^2 of that.
 * Averaged over the tile: (9.0 + 8.6 + 17.3 + 94)^2 / 16 = 1043 where the direct sum has 9: errors are sqrt(1043 /
 * 9) = 10.8 times larger. */
static double tolerance_of(const sd_conv2d *c) {
    const bool winograd = !c->direct && c->r == 3 && c->stride == 1 && c->c >= 16 && c->k >= 16 && c->h >= 4;
    return winograd ? 1.1e-4 : 1e-5;
}

/* Everything the passes can read and write: x = relu(a u + b v + d), y with its statistics; gradient = da dy + db dv +
 * dd, dx = (conv + add) masked, with its sums. */
typedef struct passes {
    sd_operand x, gradient;
    sd_epilogue forward, data;
    float *u, *v, *a, *b, *d, *w, *dy, *dv, *da, *db, *dd, *y, *dx, *dw, *add, *product, *product_mean;
    float *mean, *variance, *sum, *sum_product;
    sd_scratch scratch;
} passes;

static passes new_passes(const sd_conv2d *c, bool fused) {
    const size_t nx = x_elems(c), ny = y_elems(c), channels = (size_t)c->c, k = (size_t)c->k;
    passes p = {.u = normal_floats(nx, 1, 0, 1),
                .v = normal_floats(nx, 4, 0, 1),
                .a = normal_floats(channels, 5, 1, 0.3),
                .b = normal_floats(channels, 6, 0.5, 0.3),
                .d = normal_floats(channels, 7, 0.2, 0.3),
                .w = normal_floats(w_elems(c), 2, 0, 1),
                .dy = normal_floats(ny, 3, 0, 1),
                .dv = normal_floats(ny, 11, 0, 1),
                .da = normal_floats(k, 12, 1, 0.3),
                .db = normal_floats(k, 13, 0.5, 0.3),
                .dd = normal_floats(k, 14, 0.2, 0.3),
                .y = unwritten(ny),
                .dx = unwritten(nx),
                .dw = unwritten(w_elems(c)),
                .scratch = {unwritten(sd_conv2d_scratch_elems(c, scratch_threads)), scratch_threads},
                .add = normal_floats(nx, 8, 0, 1),
                .product = normal_floats(nx, 9, 0, 1),
                .product_mean = normal_floats(channels, 10, 0, 1),
                .mean = unwritten(k),
                .variance = unwritten(k),
                .sum = unwritten(channels),
                .sum_product = unwritten(channels)};
    p.x = sd_plain(p.u);
    p.gradient = sd_plain(p.dy);
    if (fused) {
        p.gradient = (sd_operand){.u = p.dy, .a = p.da, .v = p.dv, .b = p.db, .d = p.dd};
        p.x = (sd_operand){.u = p.u, .a = p.a, .v = p.v, .b = p.b, .d = p.d, .relu = true};
        p.forward = (sd_epilogue){.mean = p.mean, .variance = p.variance};
        p.data = (sd_epilogue){.add = p.add,
                               .mask = {.u = p.v, .a = p.a, .d = p.d},
                               .product = p.product,
                               .product_mean = p.product_mean,
                               .sum = p.sum,
                               .sum_product = p.sum_product};
    }
    return p;
}

static passes run_passes(const sd_kernels *k, const sd_conv2d *c, bool fused) {
    passes p = new_passes(c, fused);
    k->conv2d_forward(c, &p.x, p.w, p.y, fused ? &p.forward : NULL, p.scratch);
    k->conv2d_backward(c, &p.x, &p.gradient, p.w, p.dw, p.dx, fused ? &p.data : NULL, p.scratch);
    expect_guard("y", p.y, y_elems(c));
    expect_guard("dx", p.dx, x_elems(c));
    expect_guard("dw", p.dw, w_elems(c));
    expect_guard("scratch", p.scratch.memory, sd_conv2d_scratch_elems(c, scratch_threads));
    return p;
}

static void free_passes(passes *p) {
    float *all[] = {p->u,          p->v,        p->a,
                    p->b,          p->d,        p->w,
                    p->dy,         p->dv,       p->da,
                    p->db,         p->dd,       p->y,
                    p->dx,         p->dw,       p->scratch.memory,
                    p->add,        p->product,  p->product_mean,
                    p->mean,       p->variance, p->sum,
                    p->sum_product};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static void describe(char *what, size_t bytes, const sd_kernels *k, const sd_conv2d *c) {
    snprintf(what, bytes, "%s, %d x %dx%dx%d -> %d, %dx%d/%d", k->name, c->images, c->h, c->w, c->c, c->k, c->r, c->s,
             c->stride);
}

/* Tolerance: a value is a sum of n <= 3072 products, each exact to u = 6e-8; rounding adds up like a random walk over
 * at most n partial sums, which are themselves at most sqrt(n) terms large: error / |value| about u sqrt(n) = 3e-6
 * at worst. */
START_TEST(passes_equal_the_definition) {
    const sd_kernels *k = sd_kernels_at(_i / N_SHAPES);
    const sd_conv2d *c = &shapes[_i % N_SHAPES];
    char what[128];
    sd_kernels_set_threads(scratch_threads = 2);
    passes p = run_passes(k, c, false);
    double *y = calloc(y_elems(c), sizeof *y), *dx = calloc(x_elems(c), sizeof *dx),
           *dw = calloc(w_elems(c), sizeof *dw);
    define(c, p.u, p.w, p.dy, y, dx, dw);
    describe(what, sizeof what, k, c);
    expect_close(what, p.y, y, y_elems(c), tolerance_of(c));
    expect_close(what, p.dx, dx, x_elems(c), tolerance_of(c));
    expect_close(what, p.dw, dw, w_elems(c), tolerance_of(c));
    free(y);
    free(dx);
    free(dw);
    free_passes(&p);
}
END_TEST

/* The epilogues' definition: dx = mask > 0 ? dx + add : 0 with its sums, in place; mean and variance of y. */
static void define_epilogues(const sd_conv2d *c, const passes *p, const double *y, double *dx, double *mean,
                             double *variance, double *sum, double *sum_product) {
    const size_t channels = (size_t)c->c, k = (size_t)c->k, rows = y_elems(c) / k;
    for (size_t i = 0; i < x_elems(c); i++) {
        const size_t ch = i % channels;
        dx[i] = (double)p->v[i] * p->a[ch] + p->d[ch] > 0 ? dx[i] + p->add[i] : 0;
        sum[ch] += dx[i];
        sum_product[ch] += dx[i] * ((double)p->product[i] - p->product_mean[ch]);
    }
    for (size_t i = 0; i < rows * k; i++)
        mean[i % k] += y[i] / (double)rows;
    for (size_t i = 0; i < rows * k; i++)
        variance[i % k] += pow(y[i] - mean[i % k], 2) / (double)rows;
}

START_TEST(operands_and_epilogues_equal_their_definition) {
    const sd_kernels *k = sd_kernels_at(_i / N_SHAPES);
    const sd_conv2d *c = &shapes[_i % N_SHAPES];
    const size_t channels = (size_t)c->c, nk = (size_t)c->k;
    char what[128];
    sd_kernels_set_threads(scratch_threads = 2);
    passes p = run_passes(k, c, true);
    float *x = new_floats(x_elems(c)), *gradient = new_floats(y_elems(c));
    for (size_t i = 0; i < y_elems(c); i++)
        gradient[i] = (float)((double)p.dy[i] * p.da[i % nk] + (double)p.dv[i] * p.db[i % nk] + p.dd[i % nk]);
    for (size_t i = 0; i < x_elems(c); i++) {
        const double value =
            (double)p.u[i] * p.a[i % channels] + (double)p.v[i] * p.b[i % channels] + p.d[i % channels];
        x[i] = value > 0 ? (float)value : 0;
    }
    double *y = calloc(y_elems(c), sizeof *y), *dx = calloc(x_elems(c), sizeof *dx),
           *dw = calloc(w_elems(c), sizeof *dw), *mean = calloc(nk, sizeof *mean), *variance = calloc(nk, sizeof *mean),
           *sum = calloc(channels, sizeof *sum), *sum_product = calloc(channels, sizeof *sum);
    define(c, x, p.w, gradient, y, dx, dw);
    define_epilogues(c, &p, y, dx, mean, variance, sum, sum_product);
    describe(what, sizeof what, k, c);
    expect_close(what, p.y, y, y_elems(c), tolerance_of(c));
    expect_close(what, p.dx, dx, x_elems(c), tolerance_of(c));
    expect_close(what, p.dw, dw, w_elems(c), tolerance_of(c));
    expect_close(what, p.mean, mean, nk, tolerance_of(c));
    if (y_elems(c) > nk) /* of one value a channel the variance is 0 */
        expect_close(what, p.variance, variance, nk, 2 * tolerance_of(c));
    expect_close(what, p.sum, sum, channels, 2 * tolerance_of(c));
    expect_close(what, p.sum_product, sum_product, channels, 2 * tolerance_of(c));
    free(x);
    free(gradient);
    free(y);
    free(dx);
    free(dw);
    free(mean);
    free(variance);
    free(sum);
    free(sum_product);
    free_passes(&p);
}
END_TEST

/* An operand of whatever form is read as if it had been evaluated before. One slice of 16 channels, several, and more
 * than are read at a time. */
START_TEST(operands_of_every_form_are_read_as_their_values) {
    const sd_kernels *k = sd_kernels_at(_i);
    static const sd_conv2d some[] = {
        {.images = 2, .h = 5, .w = 7, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1, .direct = true},
        {.images = 2, .h = 5, .w = 7, .c = 48, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 2, .h = 5, .w = 7, .c = 32, .k = 16, .r = 3, .s = 3, .stride = 2, .pad = 1},
        {.images = 2, .h = 3, .w = 3, .c = 144, .k = 48, .r = 1, .s = 1, .stride = 1, .pad = 0},
        {.images = 2, .h = 5, .w = 4, .c = 19, .k = 17, .r = 3, .s = 3, .stride = 1, .pad = 1},
    };
    sd_kernels_set_threads(scratch_threads = 1);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        for (int form = 0; form < 32; form++) {
            const sd_conv2d *c = &some[i];
            passes p = new_passes(c, true), plain = new_passes(c, false);
            p.x.relu = form & 1;
            p.x.v = form & 2 ? p.x.v : NULL;
            p.x.a = form & 4 ? p.x.a : NULL;
            p.x.d = form & 8 ? p.x.d : NULL;
            p.gradient.v = form & 16 ? p.gradient.v : NULL;
            p.gradient.d = form & 8 ? p.gradient.d : NULL;
            k->store_operand(x_elems(c) / (size_t)c->c, c->c, &p.x, plain.u);
            k->store_operand(y_elems(c) / (size_t)c->k, c->k, &p.gradient, plain.dy);
            k->conv2d_forward(c, &p.x, p.w, p.y, NULL, p.scratch);
            k->conv2d_backward(c, &p.x, &p.gradient, p.w, p.dw, p.dx, NULL, p.scratch);
            k->conv2d_forward(c, &plain.x, plain.w, plain.y, NULL, plain.scratch);
            k->conv2d_backward(c, &plain.x, &plain.gradient, plain.w, plain.dw, plain.dx, NULL, plain.scratch);
            expect_close_floats("y", p.y, plain.y, y_elems(c), tolerance_of(c));
            expect_close_floats("dx", p.dx, plain.dx, x_elems(c), tolerance_of(c));
            expect_close_floats("dw", p.dw, plain.dw, w_elems(c), tolerance_of(c));
            free_passes(&p);
            free_passes(&plain);
        }
}
END_TEST

/* <conv(x), dy> = <x, conv^T(dy)> = <w, dw>: holds whatever the definition. Relative to |y| |dy|: rounding as above. */
START_TEST(backward_passes_are_the_adjoints_of_forward) {
    const sd_kernels *k = sd_kernels_at(_i / N_SHAPES);
    const sd_conv2d *c = &shapes[_i % N_SHAPES];
    sd_kernels_set_threads(scratch_threads = 1);
    passes p = run_passes(k, c, false);
    const size_t ny = y_elems(c);
    const double forward = dot(p.y, p.dy, ny),
                 allowed = tolerance_of(c) * sqrt(dot(p.y, p.y, ny) * dot(p.dy, p.dy, ny));
    expect_number("<x, dx>", dot(p.u, p.dx, x_elems(c)), forward, allowed);
    expect_number("<w, dw>", dot(p.w, p.dw, w_elems(c)), forward, allowed);
    free_passes(&p);
}
END_TEST

START_TEST(instruction_sets_agree_with_ref) {
    const sd_kernels *k = sd_kernels_at(_i / N_SHAPES);
    const sd_conv2d *c = &shapes[_i % N_SHAPES];
    sd_kernels_set_threads(scratch_threads = 1);
    passes p = run_passes(k, c, true), ref = run_passes(sd_kernels_at(0), c, true);
    ck_assert_str_eq(sd_kernels_at(0)->name, "ref");
    expect_close_floats("y", p.y, ref.y, y_elems(c), tolerance_of(c));
    expect_close_floats("dx", p.dx, ref.dx, x_elems(c), tolerance_of(c));
    expect_close_floats("dw", p.dw, ref.dw, w_elems(c), tolerance_of(c));
    free_passes(&p);
    free_passes(&ref);
}
END_TEST

/* Large enough that every thread has several pieces of work. Scratch is used by the threads it was taken for, whatever
 * is set later. */
START_TEST(bits_do_not_depend_on_threads) {
    static const sd_conv2d large[] = {
        {.images = 5, .h = 19, .w = 17, .c = 33, .k = 47, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 5, .h = 19, .w = 17, .c = 32, .k = 48, .r = 3, .s = 3, .stride = 2, .pad = 1},
        {.images = 3, .h = 30, .w = 32, .c = 3, .k = 64, .r = 7, .s = 7, .stride = 2, .pad = 3},
        {.images = 9, .h = 16, .w = 16, .c = 3, .k = 64, .r = 4, .s = 4, .stride = 4, .pad = 0},
        {.images = 3, .h = 27, .w = 25, .c = 96, .k = 96, .r = 3, .s = 3, .stride = 2, .pad = 1}, /* shared panels */
        {.images = 5, .h = 19, .w = 17, .c = 64, .k = 64, .r = 1, .s = 1, .stride = 1, .pad = 0},
        {.images = 2, .h = 13, .w = 13, .c = 256, .k = 320, .r = 1, .s = 1, .stride = 1, .pad = 0}, /* shared panels */
        {.images = 7, .h = 32, .w = 32, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 9, .h = 16, .w = 16, .c = 32, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 1,
         .h = 11,
         .w = 12,
         .c = 32,
         .k = 16,
         .r = 3,
         .s = 3,
         .stride = 1,
         .pad = 1}, /* Winograd: a block */
        {.images = 1, .h = 29, .w = 23, .c = 48, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1}, /* ... a few blocks */
        {.images = 9, .h = 15, .w = 16, .c = 80, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1}, /* ... shared ones */
        {.images = 9, .h = 16, .w = 16, .c = 32, .k = 48, .r = 3, .s = 3, .stride = 1, .pad = 1, .direct = true},
    };
    static const struct {
        int threads, scratch; /* that are set when the passes run, and that scratch was taken for */
    } rows[] = {{2, 2}, {3, 3}, {4, 4}, {4, 1}, {4, 3}, {1, 4}};
    const sd_kernels *k = sd_kernels_at(_i);
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        const sd_conv2d *c = &large[i];
        sd_kernels_set_threads(scratch_threads = 1);
        passes one = run_passes(k, c, true);
        for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
            sd_kernels_set_threads(rows[row].threads);
            scratch_threads = rows[row].scratch;
            passes many = run_passes(k, c, true);
            expect_same_bits("y", one.y, many.y, y_elems(c) * sizeof(float));
            expect_same_bits("dx", one.dx, many.dx, x_elems(c) * sizeof(float));
            expect_same_bits("dw", one.dw, many.dw, w_elems(c) * sizeof(float));
            expect_same_bits("mean", one.mean, many.mean, (size_t)c->k * sizeof(float));
            expect_same_bits("variance", one.variance, many.variance, (size_t)c->k * sizeof(float));
            expect_same_bits("sum", one.sum, many.sum, (size_t)c->c * sizeof(float));
            expect_same_bits("sum_product", one.sum_product, many.sum_product, (size_t)c->c * sizeof(float));
            free_passes(&many);
        }
        free_passes(&one);
    }
}
END_TEST

START_TEST(weight_gradients_do_not_depend_on_whether_dx_is_asked_for) {
    const sd_kernels *k = sd_kernels_at(_i / N_SHAPES);
    const sd_conv2d *c = &shapes[_i % N_SHAPES];
    sd_kernels_set_threads(scratch_threads = 3);
    passes both = run_passes(k, c, true), one = new_passes(c, true);
    k->conv2d_backward(c, &one.x, &one.gradient, one.w, one.dw, NULL, &one.data, one.scratch);
    expect_same_bits("dw", one.dw, both.dw, w_elems(c) * sizeof(float));
    expect_guard("dw", one.dw, w_elems(c));
    expect_guard("scratch", one.scratch.memory, sd_conv2d_scratch_elems(c, scratch_threads));
    ck_assert(isnan(one.sum[0]) && isnan(one.sum_product[0])); /* of no dx */
    free_passes(&both);
    free_passes(&one);
}
END_TEST

/* A diverged network is to be seen: nothing is hidden by a kernel that skips or selects. */
START_TEST(a_value_that_is_not_a_number_reaches_the_output) {
    const sd_kernels *k = sd_kernels_at(_i);
    static const sd_conv2d one_of_each[] = {
        {.images = 3, .h = 9, .w = 11, .c = 17, .k = 19, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 3, .h = 9, .w = 14, .c = 16, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.images = 3, .h = 9, .w = 11, .c = 32, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1},
    };
    for (size_t i = 0; i < sizeof one_of_each / sizeof one_of_each[0]; i++) {
        const sd_conv2d *c = &one_of_each[i];
        sd_kernels_set_threads(scratch_threads = 1);
        passes p = new_passes(c, true);
        p.u[0] = p.dy[0] = NAN;
        p.v[0] = 1e3f; /* not masked */
        k->conv2d_forward(c, &p.x, p.w, p.y, NULL, p.scratch);
        k->conv2d_backward(c, &p.x, &p.gradient, p.w, p.dw, p.dx, &p.data, p.scratch);
        ck_assert(isnan(p.y[0]) && isnan(p.dx[0]) && isnan(p.dw[4 * (size_t)c->c * (size_t)c->k]));
        const size_t last = y_elems(c) - 1; /* an image without it is as before */
        ck_assert(isfinite(p.y[last]) && isfinite(p.dx[x_elems(c) - 1]));
        free_passes(&p);
    }
}
END_TEST

/* A network takes scratch for its largest batch; a smaller one may be cut otherwise, even go to another algorithm. */
START_TEST(scratch_for_many_images_suffices_for_fewer) {
    sd_conv2d c = shapes[_i];
    for (int threads = 1; threads <= 4; threads++) {
        c.images = 70;
        const size_t planned = sd_conv2d_scratch_elems(&c, threads);
        for (; c.images > 0; c.images--)
            expect(sd_conv2d_scratch_elems(&c, threads) <= planned, "%d images need %zu floats, 70 need %zu", c.images,
                   sd_conv2d_scratch_elems(&c, threads), planned);
    }
}
END_TEST

START_TEST(output_sizes_are_pytorchs) {
    static const struct {
        int in, kernel, stride, pad, out;
    } rows[] = {{32, 3, 1, 1, 32}, {32, 3, 2, 1, 16},    {33, 3, 2, 1, 17}, {224, 7, 2, 3, 112},
                {7, 1, 2, 0, 4},   {224, 16, 16, 0, 14}, {9, 4, 4, 0, 2},   {1, 3, 2, 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sd_conv2d c = {.h = rows[i].in,
                             .w = rows[i].in + 1,
                             .r = rows[i].kernel,
                             .s = rows[i].kernel,
                             .stride = rows[i].stride,
                             .pad = rows[i].pad};
        ck_assert_int_eq(sd_conv2d_out_h(&c), rows[i].out);
        ck_assert_int_eq(sd_conv2d_out_w(&c), (rows[i].in + 1 + 2 * rows[i].pad - rows[i].kernel) / rows[i].stride + 1);
    }
}
END_TEST

int main(void) {
    const int n_isa = count_kernels();
    TCase *cases = tcase_create("convolution");
    tcase_add_loop_test(cases, passes_equal_the_definition, 0, n_isa * N_SHAPES);
    tcase_add_loop_test(cases, operands_and_epilogues_equal_their_definition, 0, n_isa * N_SHAPES);
    tcase_add_loop_test(cases, operands_of_every_form_are_read_as_their_values, 0, n_isa);
    tcase_add_loop_test(cases, backward_passes_are_the_adjoints_of_forward, 0, n_isa * N_SHAPES);
    tcase_add_loop_test(cases, instruction_sets_agree_with_ref, N_SHAPES, n_isa * N_SHAPES);
    tcase_add_loop_test(cases, bits_do_not_depend_on_threads, 0, n_isa);
    tcase_add_loop_test(cases, weight_gradients_do_not_depend_on_whether_dx_is_asked_for, 0, n_isa * N_SHAPES);
    tcase_add_loop_test(cases, a_value_that_is_not_a_number_reaches_the_output, 0, n_isa);
    tcase_add_loop_test(cases, scratch_for_many_images_suffices_for_fewer, 0, N_SHAPES);
    tcase_add_test(cases, output_sizes_are_pytorchs);
    return run_suite("convolution", cases);
}
