/* SPDX-License-Identifier: Apache-2.0 */
/* data/: synthetic images, CIFAR files, splits, normalisation, augmentation, shares, the loader, images that cannot
 * be read. */
#include "../../src/data/dataset.h"
#include "../../src/data/draws.h"
#include "../support.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, IMAGE = 3 * PLANE, FOLDER_BYTES = SUPPORT_PATH_BYTES + 64 };

static sd_dataset *opened(const sd_config *config) {
    sd_dataset *dataset;
    expect_ok(open_dataset(config, &dataset));
    return dataset;
}

#define expect_open_refused(config, code, ...)                                                                         \
    do {                                                                                                               \
        sd_dataset *refused_ = NULL;                                                                                   \
        expect_refused(open_dataset(config, &refused_), code, __VA_ARGS__);                                            \
        ck_assert_ptr_null(refused_);                                                                                  \
    } while (0)

/* Copies the bytes of an image; returns its label. */
static int32_t read_image(const sd_dataset *dataset, sd_split split, uint32_t index, uint8_t *pixels) {
    sd_sample sample = {0};
    expect_ok(sd_dataset_read(dataset, split, index, &sample));
    const int32_t label = sample.label;
    memcpy(pixels, sample.pixels, (size_t)(sample.h * sample.w * SD_CHANNELS));
    sd_sample_free(&sample);
    return label;
}

/* Writes a prepared image; returns its label. */
static int32_t prepare(const sd_dataset *dataset, sd_split split, uint32_t index, sd_augment augment, uint32_t seed,
                       uint64_t epoch, float *x) {
    sd_workspace work = {0};
    expect_ok(sd_dataset_prepare(dataset, split, index, augment, seed, epoch, &work, x));
    const int32_t label = work.image.label;
    sd_workspace_free(&work);
    return label;
}

/* ---- synthetic ---- */

START_TEST(synthetic_images_are_the_same_every_time) {
    sd_config *config = config_of("data.train_samples=40", "data.val_samples=20", NULL),
              *other_seed = config_of("data.train_samples=60", "data.val_samples=20", "run.seed=9", NULL);
    sd_dataset *a = opened(config), *b = opened(other_seed);
    ck_assert_uint_eq(sd_dataset_images(a, SD_SPLIT_TRAIN), 40);
    ck_assert_uint_eq(sd_dataset_images(a, SD_SPLIT_VALIDATION), 20);
    static uint8_t x[40][IMAGE], y[IMAGE];
    for (uint32_t i = 0; i < 40; i++) {
        ck_assert_int_eq(read_image(a, SD_SPLIT_TRAIN, i, x[i]), read_image(b, SD_SPLIT_TRAIN, i, y));
        ck_assert_mem_eq(x[i], y, IMAGE);
        for (uint32_t j = 0; j < i; j++)
            expect(memcmp(x[i], x[j], IMAGE), "images %u and %u are one", i, j);
    }
    for (uint32_t i = 0; i < 20; i++) { /* validation images are others */
        read_image(a, SD_SPLIT_VALIDATION, i, y);
        for (uint32_t j = 0; j < 40; j++)
            expect(memcmp(y, x[j], IMAGE), "validation image %u is training image %u", i, j);
    }
    ck_assert_uint_eq(sd_dataset_bytes(a), 0);
    sd_dataset_close(&a);
    ck_assert_ptr_null(a);
    sd_dataset_close(&b);
    free(config);
    free(other_seed);
}
END_TEST

START_TEST(synthetic_labels_cover_all_classes_evenly) {
    static const struct {
        const char *setting;
        int classes;
    } rows[] = {{"model.classes=0", 10}, {"model.classes=2", 2}, {"model.classes=37", 37}, {"model.classes=100", 100}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        sd_config *config = config_of(rows[r].setting, "data.train_samples=4000", "data.image_size=8", NULL);
        sd_dataset *dataset = opened(config);
        int count[100] = {0};
        uint8_t x[8 * 8 * 3];
        const double p = 1.0 / rows[r].classes;
        ck_assert_int_eq(sd_dataset_samples(dataset).classes, rows[r].classes);
        for (uint32_t i = 0; i < 4000; i++) {
            int32_t label = read_image(dataset, SD_SPLIT_TRAIN, i, x);
            expect(label >= 0 && label < rows[r].classes, "label %d", label);
            count[label]++;
        }
        for (int c = 0; c < rows[r].classes; c++)
            expect_number("images of a class", count[c], 4000 * p, 5 * sqrt(4000 * p * (1 - p)));
        sd_dataset_close(&dataset);
        free(config);
    }
}
END_TEST

START_TEST(synthetic_images_have_the_size_that_is_asked_for) {
    const char *settings[] = {"data.image_size=8", "data.image_size=33", "data.image_size=224"};
    const int sizes[] = {8, 33, 224};
    for (int s = 0; s < 3; s++) {
        sd_config *config = config_of(settings[s], "data.train_samples=3", NULL);
        sd_dataset *dataset = opened(config);
        const size_t n = (size_t)sizes[s] * (size_t)sizes[s] * 3;
        ck_assert_int_eq(sd_dataset_samples(dataset).image_size, sizes[s]);
        uint8_t *x = calloc(n + 1, 1);
        x[n] = 77;
        read_image(dataset, SD_SPLIT_TRAIN, 2, x);
        size_t zeros = 0;
        for (size_t i = 0; i < n; i++)
            zeros += x[i] == 0;
        ck_assert_uint_lt(zeros, n / 2);
        ck_assert_int_eq(x[n], 77);
        free(x);
        sd_dataset_close(&dataset);
        free(config);
    }
    sd_config *config = config_of("data.image_size=7", NULL);
    expect_open_refused(config, SD_ERR_CONFIG, "command line", "data.image_size", NULL);
    free(config);
    config = config_of("model.classes=1", NULL);
    expect_open_refused(config, SD_ERR_CONFIG, "model.classes", NULL);
    free(config);
    config =
        config_of("data.train_samples=4294967295", "data.validation=4294967295", NULL); /* more than 32 bits hold */
    expect_open_refused(config, SD_ERR_CONFIG, "data.train_samples", "2147483647", "not 8589934590", NULL);
    free(config);
    config = config_of("data.train_samples=4294967295", "data.validation=5", NULL);
    expect_open_refused(config, SD_ERR_CONFIG, "data.train_samples", "2147483647", "not 4294967300", NULL);
    free(config);
    config = config_of("data.val_samples=2147483648", NULL);
    expect_open_refused(config, SD_ERR_CONFIG, "data.val_samples", "2147483647", "not 2147483648", NULL);
    free(config);
}
END_TEST

START_TEST(a_dataset_is_described_without_its_files) {
    static const struct {
        const char *dataset;
        const char *image_size;
        int size, classes;
    } rows[] = {{"data.dataset=cifar10", "data.image_size=0", 32, 10},
                {"data.dataset=cifar100", "data.image_size=8", 8, 100},
                {"data.dataset=folder", "data.image_size=0", 224, 37},
                {"data.dataset=folder", "data.image_size=96", 96, 37},
                {"data.dataset=synthetic", "data.image_size=8", 8, 37}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        sd_config *config =
            config_of(rows[r].dataset, "data.path=/nowhere", rows[r].image_size, "model.classes=37", NULL);
        const sd_data_spec spec = sd_config_data(config);
        const sd_sample_spec samples = sd_dataset_describe(&spec);
        ck_assert_int_eq(samples.image_size, rows[r].size);
        ck_assert_int_eq(samples.classes, rows[r].classes);
        free(config);
    }
}
END_TEST

START_TEST(synthetic_defaults_and_normalisation) {
    sd_config *config = config_of(NULL, NULL);
    sd_dataset *dataset = opened(config);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), 2000);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_VALIDATION), 1000);
    ck_assert_int_eq(sd_dataset_samples(dataset).image_size, 32);
    ck_assert_int_eq(sd_dataset_samples(dataset).classes, 10);
    for (int c = 0; c < 3; c++)
        ck_assert(sd_dataset_mean(dataset)[c] == 0.5f && sd_dataset_deviation(dataset)[c] == 0.25f);
    sd_dataset_close(&dataset);
    free(config);
    config = config_of("data.validation=30", "data.train_samples=50", NULL);
    dataset = opened(config);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), 50);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_VALIDATION), 30);
    sd_dataset_close(&dataset);
    free(config);
}
END_TEST

/* ---- CIFAR files ---- */

enum { PER_FILE = 7, TRAIN = 5 * PER_FILE, TEST = 4 };

/* A byte of the images of these tests: of training image n, or test image n - 1000. */
static uint8_t byte_of(int n, int channel, int pixel) {
    return (uint8_t)(sd_random_at(1, 98, (uint64_t)n, (uint64_t)(channel * PLANE + pixel)).word[0] >> 24);
}

static int label_of(int n, int classes) { return (n * 3 + 1) % classes; }

/* Records [first, first + count) in the official layout: label bytes (coarse and fine for 100), red, green and blue
 * plane. */
static void write_records(const char *folder, const char *name, int first, int count, int classes) {
    const size_t label_bytes = classes == 100 ? 2 : 1, record_bytes = label_bytes + IMAGE;
    unsigned char *records = malloc((size_t)count * record_bytes), *at = records;
    char path[PATH_BYTES];
    for (int n = first; n < first + count; n++) {
        if (classes == 100)
            *at++ = (unsigned char)(n % 20);
        *at++ = (unsigned char)label_of(n, classes);
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < PLANE; i++)
                *at++ = byte_of(n, c, i);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_bytes(path, records, (size_t)count * record_bytes);
    free(records);
}

static void write_cifar10(const char *folder) {
    for (int f = 0; f < 5; f++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", f + 1);
        write_records(folder, name, f * PER_FILE, PER_FILE, 10);
    }
    write_records(folder, "test_batch.bin", 1000, TEST, 10);
}

static sd_config *cifar_config(const char *folder, const char *setting) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "data.path=%s", folder);
    return config_of("data.dataset=cifar10", path, setting, NULL);
}

/* The image has the bytes and the label of training image n (or test image n - 1000). */
static void expect_image(const sd_dataset *dataset, sd_split split, uint32_t index, int n, int classes) {
    uint8_t x[IMAGE];
    ck_assert_int_eq(read_image(dataset, split, index, x), label_of(n, classes));
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++)
            expect(x[i * 3 + c] == byte_of(n, c, i), "image %u: pixel %d, channel %d", index, i, c);
}

START_TEST(cifar10_is_read_from_the_folder_or_its_parent) {
    char folder[SUPPORT_PATH_BYTES], inner[FOLDER_BYTES];
    make_folder(folder);
    snprintf(inner, sizeof inner, "%s/cifar-10-batches-bin", folder);
    mkdir(inner, 0777);
    write_cifar10(inner);
    for (int parent = 0; parent < 2; parent++) {
        sd_config *config = cifar_config(parent ? folder : inner, NULL);
        sd_dataset *dataset = opened(config);
        ck_assert_int_eq(sd_dataset_samples(dataset).classes, 10);
        ck_assert_int_eq(sd_dataset_samples(dataset).image_size, 32);
        ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), TRAIN);
        ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_VALIDATION), TEST);
        ck_assert_uint_eq(sd_dataset_bytes(dataset), (TRAIN + TEST) * 3073);
        for (int n = 0; n < TRAIN; n++)
            expect_image(dataset, SD_SPLIT_TRAIN, (uint32_t)n, n, 10);
        for (int n = 0; n < TEST; n++)
            expect_image(dataset, SD_SPLIT_VALIDATION, (uint32_t)n, 1000 + n, 10);
        sd_dataset_close(&dataset);
        free(config);
    }
    remove_folder(folder);
}
END_TEST

START_TEST(cifar100_has_the_fine_label) {
    char folder[SUPPORT_PATH_BYTES], inner[FOLDER_BYTES], path[PATH_BYTES];
    make_folder(folder);
    snprintf(inner, sizeof inner, "%s/cifar-100-binary", folder);
    mkdir(inner, 0777);
    write_records(inner, "train.bin", 0, 60, 100);
    write_records(inner, "test.bin", 1000, 9, 100);
    for (int parent = 0; parent < 2; parent++) {
        snprintf(path, sizeof path, "data.path=%s", parent ? folder : inner);
        sd_config *config = config_of("data.dataset=cifar100", path, NULL);
        sd_dataset *dataset = opened(config);
        ck_assert_int_eq(sd_dataset_samples(dataset).classes, 100);
        ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), 60);
        for (int n = 0; n < 60; n++)
            expect_image(dataset, SD_SPLIT_TRAIN, (uint32_t)n, n, 100);
        for (int n = 0; n < 9; n++)
            expect_image(dataset, SD_SPLIT_VALIDATION, (uint32_t)n, 1000 + n, 100);
        sd_dataset_close(&dataset);
        free(config);
    }
    remove_folder(folder);
}
END_TEST

/* Changes a good folder's file: cut to so many bytes (-1: removed), or one byte set. */
START_TEST(damaged_cifar_files_are_refused_with_file_and_record) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    sd_config *config = cifar_config(folder, NULL);
    const long sizes[] = {0, 1, 3072, 3074, PER_FILE * 3073 - 1, PER_FILE * 3073 + 1, PER_FILE * 3074};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        write_cifar10(folder);
        snprintf(path, sizeof path, "%s/data_batch_4.bin", folder);
        ck_assert_int_eq(truncate(path, sizes[s]), 0);
        expect_open_refused(config, SD_ERR_DATA, path, "3073", NULL);
    }
    write_cifar10(folder);
    snprintf(path, sizeof path, "%s/data_batch_2.bin", folder);
    FILE *file = fopen(path, "r+b");
    fseek(file, 3 * 3073, SEEK_SET);
    fputc(10, file);
    fclose(file);
    expect_open_refused(config, SD_ERR_DATA, path, "record 3 ", "label 10", "0 to 9", NULL);
    write_cifar10(folder);
    snprintf(path, sizeof path, "%s/test_batch.bin", folder);
    file = fopen(path, "r+b");
    fputc(255, file);
    fclose(file);
    expect_open_refused(config, SD_ERR_DATA, path, "record 0 ", "label 255", NULL);
    const char *names[] = {"data_batch_1.bin", "data_batch_5.bin", "test_batch.bin"};
    for (int i = 0; i < 3; i++) {
        write_cifar10(folder);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
        expect_open_refused(config, SD_ERR_NOINPUT, path, NULL);
        mkdir(path, 0777); /* a folder of that name is no file */
        expect_open_refused(config, SD_ERR_DATA, path, "regular file", NULL);
        rmdir(path);
        mkfifo(path, 0666); /* whose writer would be waited for */
        expect_open_refused(config, SD_ERR_DATA, path, "regular file", NULL);
        remove(path);
    }
    free(config);
    config = cifar_config("/nonexistent/folder", NULL);
    expect_open_refused(config, SD_ERR_NOINPUT, "/nonexistent/folder", NULL);
    free(config);
    remove_folder(folder);
}
END_TEST

START_TEST(labels_of_cifar100_are_checked) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], setting[PATH_BYTES];
    make_folder(folder);
    snprintf(setting, sizeof setting, "data.path=%s", folder);
    sd_config *config = config_of("data.dataset=cifar100", setting, NULL);
    snprintf(path, sizeof path, "%s/train.bin", folder);
    for (int byte = 0; byte < 2; byte++) { /* coarse labels are below 20, fine ones below 100 */
        write_records(folder, "train.bin", 0, 12, 100);
        write_records(folder, "test.bin", 1000, 3, 100);
        FILE *file = fopen(path, "r+b");
        fseek(file, 11 * 3074 + byte, SEEK_SET);
        fputc(byte ? 100 : 20, file);
        fclose(file);
        expect_open_refused(config, SD_ERR_DATA, path, "record 11 ", NULL);
    }
    write_records(folder, "train.bin", 0, 12, 10); /* CIFAR-10's records are another size */
    expect_open_refused(config, SD_ERR_DATA, path, "3074", NULL);
    free(config);
    remove_folder(folder);
}
END_TEST

START_TEST(requests_a_dataset_cannot_meet_are_refused_with_their_key) {
    static const struct {
        const char *setting, *key;
    } rows[] = {{"model.classes=11", "model.classes"},
                {"data.train_samples=36", "data.train_samples"},
                {"data.val_samples=5", "data.val_samples"},
                {"data.validation=35", "data.validation"},
                {"data.validation=4000000000", "data.validation"}};
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_config *config = cifar_config(folder, rows[i].setting);
        expect_open_refused(config, SD_ERR_CONFIG, "command line", rows[i].key, NULL);
        free(config);
    }
    const char *good[] = {"model.classes=10", "data.image_size=64", "data.train_samples=35", "data.val_samples=4",
                          "data.validation=34"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        sd_config *config = cifar_config(folder, good[i]);
        sd_dataset *dataset = opened(config);
        sd_dataset_close(&dataset);
        free(config);
    }
    remove_folder(folder);
}
END_TEST

/* ---- splits ---- */

/* Which training image of write_cifar10() an image of a split is. */
static int identify(const sd_dataset *dataset, sd_split split, uint32_t index) {
    uint8_t x[IMAGE];
    read_image(dataset, split, index, x);
    for (int n = 0; n < TRAIN; n++)
        if (x[0] == byte_of(n, 0, 0) && x[1] == byte_of(n, 1, 0) && x[2] == byte_of(n, 2, 0) &&
            x[3] == byte_of(n, 0, 1))
            return n;
    ck_abort_msg("image %u is none of the training images", index);
    return -1;
}

START_TEST(held_out_images_and_the_others_are_a_partition_in_file_order) {
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    int owner[2][TRAIN] = {{0}};
    for (int seed = 0; seed < 2; seed++) {
        sd_config *config = cifar_config(folder, "data.validation=12");
        config->run.seed = 5 + seed;
        sd_dataset *dataset = opened(config), *again = opened(config);
        ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), TRAIN - 12);
        ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_VALIDATION), 12);
        for (int split = 0; split < 2; split++)
            for (uint32_t i = 0, before = 0; i < sd_dataset_images(dataset, (sd_split)split); i++) {
                int n = identify(dataset, (sd_split)split, i);
                expect(i == 0 || n > (int)before, "image %d follows %u", n, before);
                expect(owner[seed][n]++ == 0, "image %d is there twice", n);
                owner[seed][n] += split;
                before = (uint32_t)n;
                ck_assert_int_eq(identify(again, (sd_split)split, i), n);
                expect_image(dataset, (sd_split)split, i, n, 10);
            }
        for (int n = 0; n < TRAIN; n++)
            expect(owner[seed][n] > 0, "image %d is missing", n);
        sd_dataset_close(&dataset);
        sd_dataset_close(&again);
        free(config);
    }
    ck_assert_mem_ne(owner[0], owner[1], sizeof owner[0]); /* another seed holds out others */
    remove_folder(folder);
}
END_TEST

START_TEST(samples_are_the_first_in_file_order) {
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    sd_config *all = cifar_config(folder, "data.validation=12"), *few = cifar_config(folder, "data.validation=12");
    expect_ok(sd_config_set(few, "data.train_samples=9"));
    expect_ok(sd_config_set(few, "data.val_samples=5"));
    sd_dataset *a = opened(all), *b = opened(few);
    ck_assert_uint_eq(sd_dataset_images(b, SD_SPLIT_TRAIN), 9);
    ck_assert_uint_eq(sd_dataset_images(b, SD_SPLIT_VALIDATION), 5);
    for (uint32_t i = 0; i < 9; i++)
        ck_assert_int_eq(identify(a, SD_SPLIT_TRAIN, i), identify(b, SD_SPLIT_TRAIN, i));
    for (uint32_t i = 0; i < 5; i++)
        ck_assert_int_eq(identify(a, SD_SPLIT_VALIDATION, i), identify(b, SD_SPLIT_VALIDATION, i));
    sd_dataset_close(&a);
    sd_dataset_close(&b);
    expect_ok(sd_config_set(few, "data.train_samples=24")); /* 35 less 12 are 23 */
    expect_open_refused(few, SD_ERR_CONFIG, "data.train_samples", "23", NULL);
    expect_ok(sd_config_set(few, "data.train_samples=23"));
    expect_ok(sd_config_set(few, "data.val_samples=13"));
    expect_open_refused(few, SD_ERR_CONFIG, "data.val_samples", "12", NULL);
    free(all);
    free(few);
    remove_folder(folder);
}
END_TEST

/* ---- normalisation ---- */

START_TEST(normalisation_is_that_of_the_images_trained_on) {
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    const char *settings[] = {NULL, "data.train_samples=9", "data.validation=12"};
    for (int s = 0; s < 3; s++) {
        sd_config *config = cifar_config(folder, settings[s]);
        sd_dataset *dataset = opened(config);
        const uint32_t n = sd_dataset_images(dataset, SD_SPLIT_TRAIN);
        for (int c = 0; c < 3; c++) {
            double mean = 0, square = 0, count = (double)n * PLANE;
            uint8_t x[IMAGE];
            for (int pass = 0; pass < 2; pass++)
                for (uint32_t i = 0; i < n; i++) {
                    read_image(dataset, SD_SPLIT_TRAIN, i, x);
                    for (int p = 0; p < PLANE; p++)
                        *(pass ? &square : &mean) +=
                            (pass ? pow(x[p * 3 + c] / 255.0 - mean, 2) : x[p * 3 + c] / 255.0) / count;
                }
            expect_number("mean", sd_dataset_mean(dataset)[c], mean, 1e-7);
            expect_number("deviation", sd_dataset_deviation(dataset)[c], sqrt(square), 1e-7);
        }
        sd_dataset_close(&dataset);
        free(config);
    }
    remove_folder(folder);
}
END_TEST

START_TEST(images_are_prepared_with_the_normalisation_that_is_set) {
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    sd_config *config = cifar_config(folder, NULL);
    sd_dataset *dataset = opened(config);
    const float mean[3] = {0.1f, 0.5f, 0.7f}, deviation[3] = {0.2f, 0.3f, 1.5f};
    float x[IMAGE];
    for (int set = 0; set < 2; set++) {
        if (set)
            sd_dataset_set_normalisation(dataset, mean, deviation);
        const float *m = sd_dataset_mean(dataset), *d = sd_dataset_deviation(dataset);
        ck_assert(!set || (m[0] == 0.1f && d[2] == 1.5f));
        int32_t label = prepare(dataset, SD_SPLIT_VALIDATION, 2, SD_AUGMENT_NONE, 1, 3, x);
        ck_assert_int_eq(label, label_of(1002, 10));
        for (int i = 0; i < IMAGE; i++)
            expect_number("a pixel", x[i], (byte_of(1002, i % 3, i / 3) / 255.0 - m[i % 3]) / d[i % 3], 1e-5);
    }
    sd_dataset_close(&dataset);
    free(config);
    remove_folder(folder);
}
END_TEST

START_TEST(a_channel_without_variance_is_not_divided_by_zero) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    static unsigned char records[2 * 3073];
    make_folder(folder);
    for (int f = 0; f < 6; f++) {
        snprintf(path, sizeof path, f < 5 ? "%s/data_batch_%d.bin" : "%s/test_batch.bin", folder, f + 1);
        write_bytes(path, records, sizeof records);
    }
    sd_config *config = cifar_config(folder, NULL);
    sd_dataset *dataset = opened(config);
    float x[IMAGE];
    prepare(dataset, SD_SPLIT_TRAIN, 0, SD_AUGMENT_NONE, 1, 1, x);
    for (int i = 0; i < IMAGE; i++)
        expect(x[i] == 0, "pixel %d is %g", i, x[i]);
    sd_dataset_close(&dataset);
    free(config);
    remove_folder(folder);
}
END_TEST

/* ---- augmentation ---- */

/* Which crop and flip of the image x is, by trying all. */
static bool find_crop(const uint8_t *pixels, const float value[3][256], const float *x, int *top, int *left,
                      int *flip) {
    for (*flip = 0; *flip < 2; ++*flip)
        for (*top = -4; *top <= 4; ++*top)
            for (*left = -4; *left <= 4; ++*left) {
                bool same = true;
                for (int i = 0; same && i < SIDE; i++)
                    for (int j = 0; same && j < SIDE; j++) {
                        int h = i + *top, w = (*flip ? SIDE - 1 - j : j) + *left;
                        bool inside = h >= 0 && h < SIDE && w >= 0 && w < SIDE;
                        for (int c = 0; c < 3; c++)
                            same &= x[(i * SIDE + j) * 3 + c] ==
                                    value[c][inside ? pixels[(h * SIDE + w) * 3 + c] : 0]; /* the padding is black */
                    }
                if (same)
                    return true;
            }
    return false;
}

START_TEST(augmentation_is_a_padded_crop_and_a_flip_half_the_time) {
    sd_config *config = config_of("data.train_samples=600", NULL);
    sd_dataset *dataset = opened(config);
    float value[3][256], x[IMAGE];
    uint8_t image[IMAGE];
    for (int c = 0; c < 3; c++)
        for (int b = 0; b < 256; b++)
            value[c][b] = ((float)b / 255.0f - 0.5f) / 0.25f;
    enum { N = 600 };
    int tops[9] = {0}, lefts[9] = {0}, flips = 0;
    for (uint32_t i = 0; i < N; i++) {
        int top, left, flip;
        int32_t label = prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 1, 1 + i % 7, x);
        ck_assert_int_eq(label, read_image(dataset, SD_SPLIT_TRAIN, i, image));
        expect(find_crop(image, value, x, &top, &left, &flip), "image %u is no crop of itself within 4 pixels", i);
        tops[top + 4]++;
        lefts[left + 4]++;
        flips += flip;
    }
    expect_number("flips", flips, N / 2, 5 * sqrt(N) / 2);
    for (int i = 0; i < 9; i++) {
        expect_number("a vertical offset", tops[i], N / 9.0, 5 * sqrt(N / 9.0 * 8 / 9));
        expect_number("a horizontal offset", lefts[i], N / 9.0, 5 * sqrt(N / 9.0 * 8 / 9));
    }
    sd_dataset_close(&dataset);
    free(config);
}
END_TEST

START_TEST(augmentation_is_a_function_of_seed_epoch_and_sample) {
    sd_config *config = config_of("data.train_samples=20", NULL);
    sd_dataset *dataset = opened(config);
    float first[IMAGE], other[IMAGE], plain[IMAGE];
    int same_epoch = 0, same_seed = 0;
    for (uint32_t i = 0; i < 20; i++) {
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 1, 1, first);
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 1, 1, other);
        ck_assert_mem_eq(first, other, sizeof first);
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 1, 2, other);
        same_epoch += !memcmp(first, other, sizeof first);
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 2, 1, other);
        same_seed += !memcmp(first, other, sizeof first);
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_NONE, 1, 1, plain);
        prepare(dataset, SD_SPLIT_TRAIN, i, SD_AUGMENT_NONE, 2, 5, other);
        ck_assert_mem_eq(plain, other, sizeof plain);
    }
    ck_assert_int_le(same_epoch, 2); /* one of 162 crops comes again by chance */
    ck_assert_int_le(same_seed, 2);
    sd_dataset_close(&dataset);
    free(config);
}
END_TEST

/* The sample counts, not its place in what is left after a split. */
START_TEST(augmentation_of_an_image_does_not_depend_on_the_split) {
    char folder[SUPPORT_PATH_BYTES];
    make_folder(folder);
    write_cifar10(folder);
    sd_config *whole = cifar_config(folder, NULL), *parted = cifar_config(folder, "data.validation=12");
    sd_dataset *a = opened(whole), *b = opened(parted);
    float x[IMAGE], y[IMAGE];
    sd_dataset_set_normalisation(b, sd_dataset_mean(a), sd_dataset_deviation(a));
    for (uint32_t i = 0; i < sd_dataset_images(b, SD_SPLIT_TRAIN); i++) {
        uint32_t n = (uint32_t)identify(b, SD_SPLIT_TRAIN, i);
        prepare(b, SD_SPLIT_TRAIN, i, SD_AUGMENT_CROP_FLIP, 1, 4, x);
        prepare(a, SD_SPLIT_TRAIN, n, SD_AUGMENT_CROP_FLIP, 1, 4, y);
        ck_assert_mem_eq(x, y, sizeof x);
    }
    sd_dataset_close(&a);
    sd_dataset_close(&b);
    free(whole);
    free(parted);
    remove_folder(folder);
}
END_TEST

/* The first four words of a sample are those of one block, on which files of runs in the past depend; more come from
 * others. */
START_TEST(a_sample_draws_as_many_words_as_it_needs) {
    sd_draws draws = {.seed = 7, .stream = SD_STREAM_AUGMENT, .sample = 19, .epoch = 3};
    for (uint32_t n = 0; n < 40; n++) {
        const sd_random block = sd_random_at(7, SD_STREAM_AUGMENT, (uint64_t)(n / 4) << 32 | 19, 3);
        ck_assert_uint_eq(sd_draws_next(&draws), block.word[n % 4]);
    }
}
END_TEST

/* ---- shares and epochs ---- */

START_TEST(shares_cover_and_differ_by_at_most_one) {
    const uint64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 100, 128, 1000003, 4294967295u};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int ranks = 1; ranks <= 17; ranks++) {
            uint64_t end = 0, least = UINT64_MAX, most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                sd_range range = sd_range_share(sizes[s], rank, ranks);
                expect(range.first == end, "%d of %d ranks", rank, ranks);
                end += range.count;
                least = range.count < least ? range.count : least;
                most = range.count > most ? range.count : most;
            }
            ck_assert_uint_eq(end, sizes[s]);
            ck_assert_uint_le(most - least, 1);
        }
}
END_TEST

START_TEST(an_epoch_drops_or_keeps_its_last_batch) {
    static const struct {
        uint64_t images, batch;
        sd_last_batch last;
        int ranks;
        uint64_t min_rank_images, full, last_images, steps;
    } rows[] = {
        {10, 4, SD_LAST_BATCH_DROP, 1, 1, 2, 0, 2},
        {10, 4, SD_LAST_BATCH_KEEP, 1, 1, 2, 2, 3},
        {12, 4, SD_LAST_BATCH_KEEP, 1, 1, 3, 0, 3},
        {3, 4, SD_LAST_BATCH_DROP, 1, 1, 0, 0, 0},
        {3, 4, SD_LAST_BATCH_KEEP, 1, 1, 0, 3, 1},
        {10, 4, SD_LAST_BATCH_KEEP, 2, 1, 2, 2, 3}, /* one each */
        {10, 4, SD_LAST_BATCH_KEEP, 3, 1, 2, 0, 2},
        {9, 4, SD_LAST_BATCH_KEEP, 2, 1, 2, 0, 2}, /* a rank has none */
        {10, 4, SD_LAST_BATCH_KEEP, 1, 2, 2, 2, 3},
        {9, 4, SD_LAST_BATCH_KEEP, 1, 2, 2, 0, 2},
        {11, 8, SD_LAST_BATCH_KEEP, 2, 2, 1, 0, 1},
        {12, 8, SD_LAST_BATCH_KEEP, 2, 2, 1, 4, 2}, /* two each */
        {50000, 128, SD_LAST_BATCH_DROP, 8, 1, 390, 0, 390},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sd_epoch_plan plan =
            sd_epoch_plan_make(rows[i].images, rows[i].batch, rows[i].last, rows[i].ranks, rows[i].min_rank_images);
        expect(plan.full_batches == rows[i].full && plan.last_images == rows[i].last_images &&
                   plan.steps == rows[i].steps,
               "row %zu: %d full batches, %d images in the last, %d steps", i, (int)plan.full_batches,
               (int)plan.last_images, (int)plan.steps);
        ck_assert_uint_eq(plan.images, rows[i].images);
        for (uint64_t b = 0; b < plan.steps; b++)
            ck_assert_uint_eq(sd_epoch_plan_batch_images(&plan, b),
                              b < plan.full_batches ? rows[i].batch : plan.last_images);
    }
}
END_TEST

/* ---- the loader ---- */

enum { LOADED = 53, MOST_BATCHES = 20, MAX_IMAGES = 5, SMALL = 8, SMALL_IMAGE = SMALL * SMALL * 3 };

typedef struct passing {
    sd_dataset *dataset;
    uint32_t order[LOADED];
    sd_range ranges[MOST_BATCHES];
    sd_loader_pass pass;
} passing;

/* Batches of 5, 4, 5, 4, ... of shuffled images. */
static void set_pass(passing *p, uint64_t epoch, uint64_t n_batches, sd_split split) {
    sd_random_permutation(1, SD_STREAM_ORDER, epoch, p->order, LOADED);
    for (uint64_t b = 0, at = 0; b < n_batches; at += p->ranges[b].count, b++)
        p->ranges[b] = (sd_range){at, MAX_IMAGES - b % 2};
    p->pass = (sd_loader_pass){.split = split,
                               .augment = split == SD_SPLIT_TRAIN ? SD_AUGMENT_CROP_FLIP : SD_AUGMENT_NONE,
                               .seed = 4,
                               .epoch = epoch,
                               .order = split == SD_SPLIT_TRAIN ? p->order : NULL,
                               .ranges = p->ranges,
                               .n_batches = n_batches};
}

static void expect_batch(const passing *p, uint64_t b, const sd_batch *batch) {
    float x[SMALL_IMAGE];
    ck_assert_uint_eq((uint64_t)batch->images, p->ranges[b].count);
    for (uint64_t i = 0; i < p->ranges[b].count; i++) {
        uint64_t at = p->ranges[b].first + i;
        uint32_t index = p->pass.order ? p->pass.order[at] : (uint32_t)at;
        int32_t label = prepare(p->dataset, p->pass.split, index, p->pass.augment, p->pass.seed, p->pass.epoch, x);
        expect(batch->targets.labels[i] == label, "batch %d, image %d: label", (int)b, (int)i);
        expect(!memcmp(batch->input.pixels + i * SMALL_IMAGE, x, sizeof x), "batch %d, image %d", (int)b, (int)i);
    }
}

START_TEST(the_loader_delivers_what_the_pass_says_whatever_its_workers) {
    sd_config *config = config_of("data.train_samples=53", "data.val_samples=53", "data.image_size=8", NULL);
    passing p = {.dataset = opened(config)};
    const int workers[] = {1, 2, 4, 9};
    for (int w = 0; w < 4; w++) {
        sd_loader *loader;
        expect_ok(sd_loader_create(p.dataset, MAX_IMAGES, workers[w], &loader));
        for (uint64_t epoch = 1; epoch <= 30; epoch++) { /* whole passes, none, and ones that end early */
            const uint64_t n_batches = epoch % 5 == 0 ? 0 : epoch % 12,
                           taken = epoch % 3 == 0 ? n_batches / 2 : n_batches;
            set_pass(&p, epoch, n_batches, epoch % 4 == 0 ? SD_SPLIT_VALIDATION : SD_SPLIT_TRAIN);
            sd_loader_begin(loader, &p.pass);
            for (uint64_t b = 0; b < taken; b++) {
                sd_batch batch;
                expect_ok(sd_loader_next(loader, &batch));
                if (b % 4 == 1)
                    usleep(300); /* others are prepared meanwhile: this one must stay */
                expect_batch(&p, b, &batch);
            }
            sd_loader_end(loader);
        }
        sd_loader_destroy(&loader);
        ck_assert_ptr_null(loader);
    }
    sd_dataset_close(&p.dataset);
    free(config);
}
END_TEST

START_TEST(a_loader_can_be_destroyed_at_any_time) {
    sd_config *config = config_of("data.train_samples=53", "data.image_size=8", NULL);
    passing p = {.dataset = opened(config)};
    for (int taken = -1; taken < 6; taken++) {
        sd_loader *loader;
        sd_batch batch;
        expect_ok(sd_loader_create(p.dataset, MAX_IMAGES, 3, &loader));
        set_pass(&p, 1, 11, SD_SPLIT_TRAIN);
        if (taken >= 0)
            sd_loader_begin(loader, &p.pass);
        for (int b = 0; b < taken; b++)
            expect_ok(sd_loader_next(loader, &batch));
        sd_loader_destroy(&loader);
    }
    sd_loader *none = NULL;
    sd_loader_destroy(&none);
    sd_dataset_close(&p.dataset);
    free(config);
}
END_TEST

/* ---- images that cannot be read ---- */

/* Images of one colour, their index. Those from first_bad on, every bad_stride-th, fail: the first of them late, so
 * that workers which prepare later batches meet theirs before. */
typedef struct broken_source {
    sd_source source;
    uint32_t first_bad, bad_stride;
    int size; /* of images, where the data set says SMALL */
    bool *closed;
} broken_source;

static sd_status read_broken(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    const broken_source *broken = (const broken_source *)source;
    if (index >= broken->first_bad && (index - broken->first_bad) % broken->bad_stride == 0) {
        if (index == broken->first_bad)
            usleep(2000);
        return sd_fail(SD_ERR_DATA, "%s image %u is cut off", test ? "test" : "train", index);
    }
    SD_TRY(sd_sample_resize(sample, broken->size, broken->size));
    memset(sample->pixels, (int)index, (size_t)(broken->size * broken->size * SD_CHANNELS));
    sample->label = (int32_t)index;
    return SD_OK;
}

static void close_broken(sd_source *source) {
    *((broken_source *)source)->closed = true;
    free(source);
}

static sd_source *new_broken(uint32_t first_bad, uint32_t bad_stride, int size, bool measured, bool *closed) {
    static const float zeros[SD_CHANNELS] = {0}, ones[SD_CHANNELS] = {1, 1, 1};
    broken_source *broken = calloc(1, sizeof *broken);
    *closed = false;
    *broken = (broken_source){.source = {.samples = {.image_size = SMALL, .classes = LOADED},
                                         .n_train = LOADED,
                                         .n_test = LOADED,
                                         .mean = measured ? NULL : zeros,
                                         .deviation = measured ? NULL : ones,
                                         .read = read_broken,
                                         .close = close_broken},
                              .first_bad = first_bad,
                              .bad_stride = bad_stride,
                              .size = size,
                              .closed = closed};
    return &broken->source;
}

/* Batches before the one with the bad image are whole; from there on all fail with what is wrong with that image. */
static void expect_failing_pass(sd_loader *loader, passing *p, uint32_t bad, uint64_t n_batches) {
    char message[64];
    bool failed = false;
    snprintf(message, sizeof message, "%s image %u is cut off", p->pass.order ? "train" : "test", bad);
    sd_loader_begin(loader, &p->pass);
    for (uint64_t b = 0; b < n_batches; b++) {
        sd_batch batch;
        sd_error_clear();
        const sd_status status = sd_loader_next(loader, &batch);
        const sd_range range = p->ranges[b];
        ck_assert_uint_eq((uint64_t)batch.images, range.count);
        for (uint64_t i = 0; i < range.count; i++) {
            const uint32_t index = p->pass.order ? p->order[range.first + i] : (uint32_t)(range.first + i);
            failed = failed || index == bad;
            const float value = batch.input.pixels[i * SMALL_IMAGE + 77];
            if (failed && status == SD_OK)
                ck_abort_msg("batch %d, image %u: no failure", (int)b, index);
            if (!failed)
                expect(batch.targets.labels[i] == (int32_t)index && (p->pass.order || value == (float)index / 255.0f),
                       "batch %d, image %u", (int)b, index);
        }
        ck_assert_int_eq(status, failed ? SD_ERR_DATA : SD_OK);
        ck_assert_str_eq(sd_error_message(), failed ? message : "");
    }
    ck_assert(failed);
    sd_loader_end(loader);
}

static sd_status dataset_of(const sd_config *config, sd_source *source, sd_dataset **dataset) {
    const sd_data_spec spec = sd_config_data(config);
    return sd_dataset_of(&spec, source, dataset);
}

START_TEST(a_batch_with_an_image_that_cannot_be_read_fails_with_the_first_such_image) {
    sd_config *config = config_of(NULL, NULL);
    enum { BATCHES = 11 }; /* 50 images */
    const uint32_t bad_places[] = {0, 1, 4, 5, 24, 49};
    const int workers[] = {1, 2, 4, 9};
    for (int w = 0; w < 4; w++)
        for (size_t i = 0; i < sizeof bad_places / sizeof bad_places[0]; i++)
            for (int split = 0; split < 2; split++) {
                passing p;
                sd_loader *loader;
                bool closed;
                set_pass(&p, 1, BATCHES, (sd_split)split);
                const uint32_t bad = p.pass.order ? p.order[bad_places[i]] : bad_places[i];
                expect_ok(
                    dataset_of(config, new_broken(bad, p.pass.order ? LOADED : 7, SMALL, false, &closed), &p.dataset));
                expect_ok(sd_loader_create(p.dataset, MAX_IMAGES, workers[w], &loader));
                expect_failing_pass(loader, &p, bad, BATCHES);
                expect_failing_pass(loader, &p, bad, BATCHES); /* a pass begins anew */
                sd_batch batch;
                sd_loader_begin(loader, &p.pass);
                if (bad_places[i] >= MAX_IMAGES) /* one that ends before the bad image is good */
                    expect_ok(sd_loader_next(loader, &batch));
                sd_loader_end(loader);
                sd_loader_begin(loader, &p.pass);
                sd_loader_destroy(&loader); /* in the middle of failures */
                sd_dataset_close(&p.dataset);
                ck_assert(closed);
            }
    free(config);
}
END_TEST

START_TEST(an_image_of_another_size_than_the_network_takes_is_resized) {
    sd_dataset *dataset;
    sd_workspace work = {0};
    float x[SMALL_IMAGE];
    bool closed;
    char size[32];
    snprintf(size, sizeof size, "data.image_size=%d", SMALL);
    sd_config *config = config_of(size, NULL);
    for (int larger = 1; larger < 30; larger += 7)
        for (int augment = SD_AUGMENT_NONE; augment <= SD_AUGMENT_RESIZED_CROP; augment++) {
            expect_ok(dataset_of(config, new_broken(UINT32_MAX, 1, SMALL + larger, false, &closed), &dataset));
            expect_ok(sd_dataset_prepare(dataset, SD_SPLIT_TRAIN, 2, (sd_augment)augment, 1, 1, &work, x));
            ck_assert_int_eq(work.image.h, SMALL);
            ck_assert_int_eq(work.image.w, SMALL);
            ck_assert_int_eq(work.image.label, 2);
            int black = 0, other = 0;
            for (int i = 0; i < SMALL_IMAGE; i++) { /* one colour stays one; crop_flip has a black border */
                black += x[i] == 0;
                other += x[i] != 0 && x[i] != 2.0f / 255.0f;
            }
            ck_assert_int_eq(other, 0);
            ck_assert(black == 0 || (augment == SD_AUGMENT_CROP_FLIP && black < SMALL_IMAGE));
            sd_dataset_close(&dataset);
        }
    sd_workspace_free(&work);
    free(config);
}
END_TEST

/* The images from first_bad on, every stride-th, are bad. */
static bool is_bad(uint32_t first_bad, uint32_t stride, uint32_t index) {
    return index >= first_bad && (index - first_bad) % stride == 0;
}

static int count_lines(const char *lines) {
    int n = 0;
    for (; lines && *lines; lines++)
        n += *lines == '\n';
    return n;
}

START_TEST(with_skip_the_next_image_stands_in_for_a_bad_one_and_scoring_leaves_it_out) {
    enum { BATCHES = 11, FIRST = 3, STRIDE = 5 };
    sd_config *config = config_of("data.on_bad_image=skip", NULL);
    for (int workers = 1; workers <= 4; workers += 3)
        for (int scoring = 0; scoring < 2; scoring++) {
            passing p;
            sd_loader *loader;
            bool closed;
            int bad = 0, left_out = 0;
            set_pass(&p, 1, BATCHES, scoring ? SD_SPLIT_VALIDATION : SD_SPLIT_TRAIN);
            p.pass.scoring = scoring;
            expect_ok(dataset_of(config, new_broken(FIRST, STRIDE, SMALL, false, &closed), &p.dataset));
            expect_ok(sd_loader_create(p.dataset, MAX_IMAGES, workers, &loader));
            for (int pass = 0; pass < 2; pass++) {
                sd_loader_begin(loader, &p.pass);
                bad = left_out = 0;
                for (int b = 0; b < BATCHES; b++) {
                    sd_batch batch;
                    int at = 0;
                    expect_ok(sd_loader_next(loader, &batch));
                    for (uint64_t i = 0; i < p.ranges[b].count; i++) {
                        const uint64_t place = p.ranges[b].first + i;
                        const uint32_t index = p.pass.order ? p.order[place] : (uint32_t)place;
                        const bool is = is_bad(FIRST, STRIDE, index);
                        bad += is;
                        if (!is || !scoring)
                            ck_assert_int_eq(batch.targets.labels[at++], (int)((index + is) % LOADED));
                    }
                    ck_assert_int_eq(batch.images, at);
                    left_out += batch.left_out;
                }
                sd_loader_end(loader);
                ck_assert_int_eq(left_out, scoring ? bad : 0);
                char *lines = sd_loader_take_bad(loader); /* each once in the loader's life */
                ck_assert_int_eq(count_lines(lines), pass == 0 ? bad : 0);
                ck_assert(pass > 0 || strstr(lines, "is cut off\n"));
                free(lines);
            }
            ck_assert_int_gt(bad, 5);
            sd_loader_destroy(&loader);
            sd_dataset_close(&p.dataset);
        }
    free(config);
}
END_TEST

START_TEST(with_skip_a_data_set_of_bad_images_is_refused) {
    passing p;
    sd_loader *loader;
    sd_batch batch;
    bool closed;
    sd_config *config = config_of("data.on_bad_image=skip", NULL);
    set_pass(&p, 1, 1, SD_SPLIT_TRAIN);
    expect_ok(dataset_of(config, new_broken(0, 1, SMALL, false, &closed), &p.dataset));
    expect_ok(sd_loader_create(p.dataset, MAX_IMAGES, 1, &loader));
    sd_loader_begin(loader, &p.pass);
    expect_refused(sd_loader_next(loader, &batch), SD_ERR_DATA, "50 images in a row", NULL);
    ck_assert_int_eq(batch.images, (int)p.ranges[0].count);
    sd_loader_destroy(&loader);
    sd_dataset_close(&p.dataset);
    free(config);
}
END_TEST

START_TEST(a_normalisation_is_a_word_or_six_numbers) {
    static const struct {
        const char *text;
        double mean, deviation;
    } rows[] = {{"imagenet", 0.485, 0.229}, {"half", 0.5, 0.5}, {"0.1, 0.2,0.3,0.4, 0.5,6", 0.1, 0.4}};
    static const char *const bad[] = {"",
                                      "none",
                                      "0.5",
                                      "1,2,3,4,5",
                                      "1,2,3,4,5,0",
                                      "1,2,3,4,5,-1",
                                      "1,2,3,4,5,6,7",
                                      "1,2,3,4,5,6 x",
                                      "nan,0,0,1,1,1",
                                      "0,0,0,inf,1,1",
                                      "0.5;0.5"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char setting[96];
        bool closed;
        sd_dataset *dataset;
        snprintf(setting, sizeof setting, "data.normalise=%s", rows[i].text);
        sd_config *config = config_of(setting, NULL);
        expect_ok(dataset_of(config, new_broken(UINT32_MAX, 1, SMALL, true, &closed), &dataset));
        expect_number(rows[i].text, sd_dataset_mean(dataset)[0], rows[i].mean, 1e-7);
        expect_number(rows[i].text, sd_dataset_deviation(dataset)[0], rows[i].deviation, 1e-7);
        sd_dataset_close(&dataset);
        free(config);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused(sd_normalise_check(bad[i]), SD_ERR_CONFIG, "data.normalise: ", NULL);
    expect_ok(sd_normalise_check("auto"));
    expect_ok(sd_normalise_check("dataset"));
}
END_TEST

START_TEST(a_source_that_fails_while_it_is_measured_is_closed) {
    sd_config *config = config_of(NULL, NULL);
    sd_dataset *dataset;
    bool closed;
    expect_refused(dataset_of(config, new_broken(17, 1, SMALL, true, &closed), &dataset), SD_ERR_DATA,
                   "image 17 is cut off", NULL);
    ck_assert(closed && !dataset);
    expect_ok(dataset_of(config, new_broken(UINT32_MAX, 1, SMALL, true, &closed), &dataset));
    expect_number("mean", sd_dataset_mean(dataset)[1], (LOADED - 1) / 2.0 / 255, 1e-7);
    sd_dataset_close(&dataset);
    free(config);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("data");
    tcase_add_test(cases, synthetic_images_are_the_same_every_time);
    tcase_add_test(cases, synthetic_labels_cover_all_classes_evenly);
    tcase_add_test(cases, synthetic_images_have_the_size_that_is_asked_for);
    tcase_add_test(cases, a_dataset_is_described_without_its_files);
    tcase_add_test(cases, synthetic_defaults_and_normalisation);
    tcase_add_test(cases, cifar10_is_read_from_the_folder_or_its_parent);
    tcase_add_test(cases, cifar100_has_the_fine_label);
    tcase_add_test(cases, damaged_cifar_files_are_refused_with_file_and_record);
    tcase_add_test(cases, labels_of_cifar100_are_checked);
    tcase_add_test(cases, requests_a_dataset_cannot_meet_are_refused_with_their_key);
    tcase_add_test(cases, held_out_images_and_the_others_are_a_partition_in_file_order);
    tcase_add_test(cases, samples_are_the_first_in_file_order);
    tcase_add_test(cases, normalisation_is_that_of_the_images_trained_on);
    tcase_add_test(cases, images_are_prepared_with_the_normalisation_that_is_set);
    tcase_add_test(cases, a_channel_without_variance_is_not_divided_by_zero);
    tcase_add_test(cases, augmentation_is_a_padded_crop_and_a_flip_half_the_time);
    tcase_add_test(cases, augmentation_is_a_function_of_seed_epoch_and_sample);
    tcase_add_test(cases, augmentation_of_an_image_does_not_depend_on_the_split);
    tcase_add_test(cases, a_sample_draws_as_many_words_as_it_needs);
    tcase_add_test(cases, shares_cover_and_differ_by_at_most_one);
    tcase_add_test(cases, an_epoch_drops_or_keeps_its_last_batch);
    tcase_add_test(cases, the_loader_delivers_what_the_pass_says_whatever_its_workers);
    tcase_add_test(cases, a_loader_can_be_destroyed_at_any_time);
    tcase_add_test(cases, a_batch_with_an_image_that_cannot_be_read_fails_with_the_first_such_image);
    tcase_add_test(cases, an_image_of_another_size_than_the_network_takes_is_resized);
    tcase_add_test(cases, with_skip_the_next_image_stands_in_for_a_bad_one_and_scoring_leaves_it_out);
    tcase_add_test(cases, with_skip_a_data_set_of_bad_images_is_refused);
    tcase_add_test(cases, a_normalisation_is_a_word_or_six_numbers);
    tcase_add_test(cases, a_source_that_fails_while_it_is_measured_is_closed);
    return run_suite("data", cases);
}
