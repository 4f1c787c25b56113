/* SPDX-License-Identifier: Apache-2.0 */
/* What the unit tests share: seeded numbers, comparisons that report, configurations, temporary folders, and main(). */
#ifndef SDTRAIN_TESTS_SUPPORT_H
#define SDTRAIN_TESTS_SUPPORT_H

#include <check.h>
#include <ftw.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/sdtrain.h"

enum { SUPPORT_SEED = 20160730, SUPPORT_PATH_BYTES = 256 /* of make_folder() */, PATH_BYTES = 1024 };

/* Tests ask for more memory than there is; the sanitizer is to return NULL then, as malloc does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

/* ck_assert writes to a file each time it is passed; this one only when it fails, so it may stand in a loop over
 * values. */
#define expect(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

/* ---- statuses ---- */

#define expect_ok(call)                                                                                                \
    do {                                                                                                               \
        sd_status expect_ok_ = (call);                                                                                 \
        expect(expect_ok_ == SD_OK, "%s: %s", #call, sd_error_message());                                              \
    } while (0)

/* The last failure was this one, and its message holds every one of these words (a list that ends with NULL). */
#define expect_refused(call, code, ...)                                                                                \
    do {                                                                                                               \
        sd_error_clear();                                                                                              \
        sd_status expect_refused_ = (call);                                                                            \
        expect(expect_refused_ == (code), "%s: got status %d, not %s: %s", #call, (int)expect_refused_, #code,         \
               sd_error_message());                                                                                    \
        expect_words(sd_error_message(), (const char *const[]){__VA_ARGS__});                                          \
    } while (0)

static inline void expect_words(const char *text, const char *const *words) {
    for (; *words; words++)
        expect(strstr(text, *words) != NULL, "'%s' does not say '%s'", text, *words);
}

/* ---- numbers ---- */

static inline float *new_floats(size_t n) {
    float *x;
    expect_ok(sd_alloc_floats(&x, n));
    return x;
}

/* n values of center + deviation * N(0, 1); another stream gives others. */
static inline float *normal_floats(size_t n, uint32_t stream, double center, double deviation) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(center + deviation * sd_random_normal(sd_random_at(SUPPORT_SEED, 1000 + stream, i, 0)));
    return x;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* |ours - reference|_2 <= tolerance |reference|_2, all finite. */
static inline void expect_close(const char *what, const float *ours, const double *reference, size_t n,
                                double tolerance) {
    double error = 0, norm = 0, worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < n; i++) {
        expect(isfinite(ours[i]), "%s: value %zu is %g", what, i, ours[i]);
        double d = ours[i] - reference[i];
        error += d * d;
        norm += reference[i] * reference[i];
        if (fabs(d) > worst) {
            worst = fabs(d);
            where = i;
        }
    }
    expect(sqrt(error) <= tolerance * sqrt(norm),
           "%s: relative error %.3g, allowed %.3g; worst at %zu: %.9g where %.9g is expected", what, sqrt(error / norm),
           tolerance, where, ours[where], reference[where]);
}

static inline void expect_close_floats(const char *what, const float *ours, const float *reference, size_t n,
                                       double tolerance) {
    double *values = malloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = reference[i];
    expect_close(what, ours, values, n, tolerance);
    free(values);
}

static inline void expect_same_bits(const char *what, const void *a, const void *b, size_t bytes) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        expect(x[i] == y[i], "%s: byte %zu of %zu differs", what, i, bytes);
}

static inline void expect_number(const char *what, double ours, double reference, double tolerance) {
    expect(fabs(ours - reference) <= tolerance, "%s is %.17g, not %.17g within %g", what, ours, reference, tolerance);
}

/* Central differences: dx must be the gradient of loss(context) in x, which is changed and put back. Looked at along
 * the gradient itself, where an error of its size shows, and along random directions, where a wrong part shows. The
 * difference of the rounded arguments is used, so that only the loss is inexact, by noise. Allowed: tolerance
 * |dx|_2. */
static inline void expect_gradient_along(const char *what, double (*loss)(void *), void *context, float *x,
                                         const float *dx, size_t n, double step, double tolerance, double noise,
                                         uint32_t directions) {
    float *origin = new_floats(n);
    const double norm = sqrt(dot(dx, dx, n));
    memcpy(origin, x, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        expect(isfinite(dx[i]), "%s: the gradient's value %zu is %g", what, i, dx[i]);
    for (uint32_t direction = 0; direction < directions; direction++) {
        const bool along_gradient = direction == 0 && norm > 0;
        float *v = along_gradient ? new_floats(n) : normal_floats(n, 500 + direction, 0, 1);
        if (along_gradient)
            memcpy(v, dx, n * sizeof *v);
        const double v_norm = sqrt(dot(v, v, n));
        double expected = 0, side[2];
        for (int sign = 0; sign < 2; sign++) {
            for (size_t i = 0; i < n; i++)
                x[i] = (float)(origin[i] + (sign ? -step : step) * v[i] / v_norm);
            side[sign] = loss(context);
            for (size_t i = 0; i < n; i++)
                expected += (sign ? -1 : 1) * (double)dx[i] * x[i];
        }
        memcpy(x, origin, n * sizeof *x);
        expected /= 2 * step;
        double numeric = (side[0] - side[1]) / (2 * step);
        expect(fabs(numeric - expected) <= tolerance * norm + noise / step,
               "%s, direction %u, step %.3g: the loss rises by %.6g, the gradient (norm %.6g) says %.6g", what,
               direction, step, numeric, norm, expected);
        free(v);
    }
    free(origin);
}

static inline void expect_gradient(const char *what, double (*loss)(void *), void *context, float *x, const float *dx,
                                   size_t n, double step, double tolerance) {
    expect_gradient_along(what, loss, context, x, dx, n, step, tolerance, 0, 3);
}

/* ---- the library ---- */

/* A configuration of these "section.key=value" (a list that ends with NULL), checked for one rank. Caller frees. */
#define config_of(...) config_of_list((const char *const[]){__VA_ARGS__})
static inline sd_config *config_of_list(const char *const *settings) {
    sd_config *config = malloc(sizeof *config);
    sd_config_init(config);
    for (; *settings; settings++)
        expect_ok(sd_config_set(config, *settings));
    expect_ok(sd_config_check(config, 1));
    return config;
}

static inline sd_status open_dataset(const sd_config *config, sd_dataset **dataset) {
    const sd_data_spec spec = sd_config_data(config);
    return sd_config_locate(config, sd_dataset_open(&spec, dataset));
}

static inline const sd_kernels *best_kernels(void) {
    const sd_kernels *kernels;
    expect_ok(sd_kernels_select(NULL, &kernels));
    return kernels;
}

static inline int count_kernels(void) {
    int n = 0;
    while (sd_kernels_at(n))
        n++;
    return n;
}

static inline sd_network *new_model(sd_model_spec spec, int max_images) {
    sd_network *network;
    expect_ok(sd_model_create(&spec, best_kernels(), max_images, &network));
    return network;
}

static inline const sd_tensor *find_tensor(const sd_network *network, const char *name) {
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (!strcmp(sd_network_tensor(network, i)->name, name))
            return sd_network_tensor(network, i);
    ck_abort_msg("there is no tensor %s", name);
    return NULL;
}

static inline bool ends_with(const char *text, const char *end) {
    return strlen(text) >= strlen(end) && !strcmp(text + strlen(text) - strlen(end), end);
}

static inline float *value_of(sd_network *network, const sd_tensor *tensor) {
    return sd_network_values(network) + tensor->offset_elems;
}

static inline float *gradient_of(sd_network *network, const sd_tensor *tensor) {
    return sd_network_gradients(network) + tensor->offset_elems;
}

/* For a backward pass whose gradients nobody waits for. */
static inline void ignore_segment(void *context, int segment) {
    (void)context;
    (void)segment;
}

/* A plan that keeps every unit, unscaled. */
static inline sd_drop_plan keep_all(int units) {
    sd_drop_plan plan;
    expect_ok(sd_drop_plan_create(units, &plan));
    for (int i = 0; i < units; i++) {
        plan.kept[i] = 1;
        plan.scale[i] = 1;
    }
    plan.kept_units = units;
    return plan;
}

/* ---- files ---- */

/* A new folder under the system's place for such. */
static inline void make_folder(char path[SUPPORT_PATH_BYTES]) {
    const char *parent = getenv("TMPDIR");
    snprintf(path, SUPPORT_PATH_BYTES, "%s/sdtrain-test-XXXXXX", parent && *parent ? parent : "/tmp");
    expect(mkdtemp(path) != NULL, "%s cannot be made", path);
}

static inline int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void remove_folder(const char *path) { nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

/* Returns path. */
static inline const char *path_in(const char *folder, const char *name, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

/* Makes the folders in a path: all that a slash follows. */
static inline void put_folders_of(const char *path) {
    char part[PATH_BYTES];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(part, 0777);
        *slash = '/';
    }
}

static inline void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    expect(file != NULL, "%s cannot be written", path);
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

/* The file's bytes and a zero behind them. Caller frees. */
static inline char *read_bytes(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    expect(file != NULL, "%s cannot be read", path);
    struct stat info;
    ck_assert_int_eq(fstat(fileno(file), &info), 0);
    char *bytes = calloc((size_t)info.st_size + 1, 1);
    *n = fread(bytes, 1, (size_t)info.st_size, file);
    fclose(file);
    return bytes;
}

static inline void expect_file(const char *path, const char *text) {
    size_t n;
    char *bytes = read_bytes(path, &n);
    ck_assert_str_eq(bytes, text);
    free(bytes);
}

/* ---- main ---- */

/* Runs the cases of one suite. Each test is a process of its own, so threads and settings do not leak between tests. */
static inline int run_suite(const char *name, TCase *cases) {
    sd_log_mute(1); /* warnings are not what these tests look at */
    tcase_set_timeout(cases, 300);
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
