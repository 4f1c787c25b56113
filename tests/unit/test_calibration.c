/* SPDX-License-Identifier: Apache-2.0 */
/* predict/calibrate.c and predict/table.c with a network and no run: one rank, whose MPI is played here. */
#include "../../src/dist/comm.h"

#include "../support.h"

enum { IMAGES = 32, SIDE = 8, CLASSES = 10 };

/* ---- MPI, of one rank: everything is summed already ---- */

int MPI_Allreduce(const void *from, void *data, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
    (void)from, (void)data, (void)n, (void)type, (void)op, (void)comm;
    return MPI_SUCCESS;
}

int MPI_Bcast(void *data, int n, MPI_Datatype type, int root, MPI_Comm comm) {
    (void)data, (void)n, (void)type, (void)root, (void)comm;
    return MPI_SUCCESS;
}

int MPI_Allgather(const void *mine, int n, MPI_Datatype type, void *all, int n_all, MPI_Datatype type_all,
                  MPI_Comm comm) {
    (void)type, (void)n_all, (void)type_all, (void)comm;
    memcpy(all, mine, (size_t)n * sizeof(double)); /* the only type that is gathered */
    return MPI_SUCCESS;
}

/* ---- a network, and what it needs for steps ---- */

typedef struct bench {
    double gathered[SD_MAX_SUMS];
    sd_comm comm;
    sd_calibration_spec spec;
    float *pixels;
    sd_input input;
    int32_t labels[IMAGES];
} bench;

static void bench_init(bench *b) {
    const sd_optimizer_spec sgd = {.momentum = 0.9};
    *b = (bench){.comm = {.size = 1, .gathered = b->gathered}};
    b->spec = (sd_calibration_spec){.comm = &b->comm,
                                    .min_images = 2,
                                    .max_images = IMAGES,
                                    .input = &b->input,
                                    .labels = b->labels,
                                    .seed = SUPPORT_SEED,
                                    .threads = 1};
    b->pixels = normal_floats(IMAGES * SIDE * SIDE * 3, 1, 0, 1);
    b->input.pixels = b->pixels;
    for (int i = 0; i < IMAGES; i++)
        b->labels[i] = i % CLASSES;
    b->spec.network = new_model((sd_model_spec){.name = "resnet20", .image_size = SIDE, .classes = CLASSES}, IMAGES);
    sd_network_initialise(b->spec.network, SUPPORT_SEED);
    expect_ok(sd_loss_create(&(sd_loss_spec){0}, best_kernels(), IMAGES, CLASSES, &b->spec.loss));
    expect_ok(sd_optimizer_create(&sgd, b->spec.network, &b->spec.optimizer));
}

static void bench_free(bench *b) {
    sd_optimizer_destroy(&b->spec.optimizer);
    sd_loss_destroy(&b->spec.loss);
    sd_network_destroy(&b->spec.network);
    free(b->pixels);
}

static double at(sd_cost cost, double images) { return cost.fixed + cost.per_image * images; }

static void expect_seconds(const char *what, double seconds) {
    expect(isfinite(seconds) && seconds >= 0 && seconds < 600, "%s: %g s", what, seconds);
}

/* ---- calibration ---- */

START_TEST(every_segment_has_its_size_and_a_time) {
    bench b;
    sd_calibration c;
    size_t statistics = 0, counted = 0;
    double branches = 0, dropped = 0;
    bench_init(&b);
    expect_ok(sd_calibrate(&b.spec, &c));
    ck_assert_int_eq(c.segments, sd_network_n_segments(b.spec.network));
    ck_assert_int_eq(c.units, 9); /* of ResNet-20 */
    ck_assert_int_eq(c.ranks, 1);
    ck_assert_int_eq(c.threads, 1);
    for (int i = 0; i < c.segments; i++) {
        const sd_segment *segment = sd_network_segment(b.spec.network, i);
        const sd_segment_cost *cost = &c.segment[i];
        ck_assert_int_eq(cost->unit, segment->unit);
        ck_assert_uint_eq(cost->elems, segment->elems);
        counted += cost->statistics_elems;
        expect_seconds("forward", at(cost->forward, IMAGES));
        expect_seconds("dropped", at(cost->backward_left, IMAGES));
        expect(at(cost->backward, IMAGES) > 0, "segment %d: backward takes no time", i);
        if (segment->unit >= 0) {
            branches += at(cost->backward, IMAGES);
            dropped += at(cost->backward_left, IMAGES);
        } else {
            expect_number("forward of what is no branch", at(cost->forward, IMAGES), 0, 0);
        }
    }
    for (int i = 0; i < sd_network_n_tensors(b.spec.network); i++)
        statistics += sd_network_tensor(b.spec.network, i)->kind == SD_TENSOR_STATISTIC
                          ? sd_network_tensor(b.spec.network, i)->elems
                          : 0;
    ck_assert_uint_eq(counted, statistics);
    ck_assert_double_lt(2 * dropped, branches); /* two convolutions, against next to nothing */
    expect(at(c.forward, IMAGES) > 0 && c.optimizer > 0, "forward %g, optimizer %g s", at(c.forward, IMAGES),
           c.optimizer);
    expect(c.add_seconds_per_byte > 0 && c.add_seconds_per_byte < 1e-6, "%g s a byte", c.add_seconds_per_byte);
    expect_number("the larger size", c.images[0], IMAGES, 0); /* far less than a second */
    expect_number("the smaller size", c.images[1], IMAGES / 4.0, 0);
    sd_calibration_free(&c);
    ck_assert_ptr_null(c.segment);
    bench_free(&b);
}
END_TEST

START_TEST(no_pass_has_fewer_images_than_batch_norm_needs) {
    bench b;
    sd_calibration c;
    bench_init(&b);
    b.spec.max_images = 5;
    b.spec.min_images = 2;
    expect_ok(sd_calibrate(&b.spec, &c)); /* a quarter would be one */
    expect_number("the larger size", c.images[0], 5, 0);
    expect_number("the smaller size", c.images[1], 2, 0);
    sd_calibration_free(&c);
    bench_free(&b);
}
END_TEST

START_TEST(what_words_cost_is_timed_where_they_travel) {
    bench b;
    sd_calibration c;
    bench_init(&b);
    b.spec.max_images = 4;
    expect_ok(sd_calibrate(&b.spec, &c));
    expect_number("floats", c.bf16_round_seconds_per_elem + c.bf16_add_seconds_per_elem, 0, 0);
    sd_calibration_free(&c);
    b.spec.bf16 = true;
    expect_ok(sd_calibrate(&b.spec, &c));
    expect(c.bf16_round_seconds_per_elem > 0 && c.bf16_add_seconds_per_elem > 0 && c.bf16_expand_seconds_per_elem > 0,
           "%g, %g, %g s a value", c.bf16_round_seconds_per_elem, c.bf16_add_seconds_per_elem,
           c.bf16_expand_seconds_per_elem);
    sd_calibration_free(&c);
    bench_free(&b);
}
END_TEST

static int n_passes, n_waits; /* beats that allow nothing; some seconds */

static void count_beat(const char *doing, double allowed_seconds) {
    ck_assert_ptr_nonnull(doing);
    if (allowed_seconds > 0)
        n_waits++;
    else
        n_passes++;
}

START_TEST(a_watchdog_hears_of_every_pass_and_of_every_wait) {
    bench b;
    sd_calibration c;
    bench_init(&b);
    b.spec.max_images = 4;
    b.spec.beat = count_beat;
    n_passes = n_waits = 0;
    expect_ok(sd_calibrate(&b.spec, &c));
    /* A beat for each pass and each of its segments; three rounds of four passes at least. */
    ck_assert_int_eq(n_passes % (1 + c.segments), 0);
    ck_assert_int_ge(n_passes, 3 * 4 * (1 + c.segments));
    ck_assert_int_eq(n_waits, 2); /* for the other ranks; for the processor's part in reductions */
    sd_calibration_free(&c);
    bench_free(&b);
}
END_TEST

/* ---- tables ---- */

START_TEST(tables_go_to_the_stream_that_is_named) {
    static sd_segment_cost segments[] = {
        {.unit = -1, .elems = 25, .backward = {.fixed = 1}},
        {.unit = 0, .elems = 50, .forward = {.fixed = 0.5}, .backward = {.fixed = 2}},
    };
    const sd_calibration c = {
        .segments = 2, .units = 1, .segment = segments, .forward = {.fixed = 1}, .threads = 2, .processors = 4};
    const sd_cluster k = {.link_bytes_per_s = 1e6, .bucket_bytes = 1000, .skip_dropped = true, .overlap = true};
    double always = 1, never = 0;
    sd_drop_spec drop = {.seed = 7, .units = 1, .rate = &always};
    const sd_prediction p = {.calibration = &c,
                             .cluster = &k,
                             .drop = &drop,
                             .n_ranks = 3,
                             .ranks = (const int[]){1, 4, 16},
                             .batch_images = 16,
                             .rank_images = 4,
                             .train_images = 40,
                             .min_shard_images = 2};
    char *text;
    size_t bytes;
    for (int drops = 1; drops >= 0; drops--) {
        FILE *to = open_memstream(&text, &bytes);
        drop.rate = drops ? &always : &never;
        expect_ok(sd_prediction_print(to, &p));
        fclose(to);
        /* One rank, 4.5 s: 1 + 0.5 forward, 3 backward; without the branch 2 s. 16 images a step. */
        expect_words(text, (const char *const[]){
                               "\n     1      16  none       4500.00     0.00     0.00  4500.00       3.6  100.0 %",
                               "\n    16  not possible: batch norm needs two images in a pass\n", "  extrapolation\n",
                               "  extrapolation  (more than the training images)\n", NULL});
        ck_assert_int_eq(strstr(text, "    saved\n") != NULL, drops);
        ck_assert_int_eq(strstr(text, "  2000.00     0.00     0.00  2000.00       8.0  100.0 %   55.6 %\n") != NULL,
                         drops);
        free(text);
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("calibration");
    tcase_add_test(cases, every_segment_has_its_size_and_a_time);
    tcase_add_test(cases, no_pass_has_fewer_images_than_batch_norm_needs);
    tcase_add_test(cases, what_words_cost_is_timed_where_they_travel);
    tcase_add_test(cases, a_watchdog_hears_of_every_pass_and_of_every_wait);
    tcase_add_test(cases, tables_go_to_the_stream_that_is_named);
    return run_suite("calibration", cases);
}
