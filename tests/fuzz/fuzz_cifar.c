/* SPDX-License-Identifier: Apache-2.0 */
/* CIFAR folders: what sd_dataset_open() says of one is what its files are, and every image of a good one is read as it
 * stands.
 *
 *     input: options (1 byte) | validation, train_samples, val_samples (1 byte each) |
 *            a file each: kind, records, odd bytes | labels and pixels, over and over */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "sdtrain/config.h"
#include "sdtrain/data.h"

enum { IMAGE_BYTES = 3072, MOST_FILES = 6, HEADER_BYTES = 4, FILE_BYTES = 3, PATH_BYTES = 512 };
typedef enum file_kind { REGULAR, LINK, MISSING, FOLDER, PIPE, DANGLING, KINDS } file_kind;

typedef struct cifar_set {
    int classes[2], label_bytes, n_files; /* the last one is the test set */
    const char *name[MOST_FILES];
} cifar_set;

static const cifar_set sets[] = {{{10},
                                  1,
                                  6,
                                  {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                   "data_batch_5.bin", "test_batch.bin"}},
                                 {{20, 100}, 2, 2, {"train.bin", "test.bin"}}};

typedef struct source {
    const uint8_t *bytes;
    size_t n, next;
} source;

static uint8_t take(source *s) { return s->n ? s->bytes[s->next++ % s->n] : 0; }

/* One good folder of each kind, and one of each fault. */
bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    enum { SEED_BYTES = HEADER_BYTES + MOST_FILES * FILE_BYTES + 64 };
    if (i >= 2 * KINDS)
        return false;
    uint8_t *seed = calloc(SEED_BYTES, 1);
    seed[0] = (uint8_t)(i / KINDS);
    for (int f = 0; f < MOST_FILES; f++)
        seed[HEADER_BYTES + FILE_BYTES * f + 1] = 2; /* records */
    seed[HEADER_BYTES] = (uint8_t)(i % KINDS);
    for (int b = HEADER_BYTES + MOST_FILES * FILE_BYTES; b < SEED_BYTES; b++)
        seed[b] = (uint8_t)(b % 10);
    *bytes = seed;
    *n = SEED_BYTES;
    return true;
}

typedef struct cifar_file {
    file_kind kind;
    size_t bytes;
    uint8_t *content; /* the records of one file, as they stand in it */
} cifar_file;

static cifar_file write_file(const cifar_set *set, int f, const uint8_t *described, source *rest) {
    const size_t record_bytes = (size_t)set->label_bytes + IMAGE_BYTES;
    char path[PATH_BYTES], elsewhere[PATH_BYTES + 16];
    cifar_file file = {.kind = (file_kind)(described[0] % KINDS)};
    const size_t whole = described[1] % 4u * record_bytes,
                 odd = described[2] % 8u; /* 0 to 4 too many, or 1 to 3 too few */
    file.bytes = odd <= 4 ? whole + odd : whole >= 8 - odd ? whole - (8 - odd) : 0;
    file.content = malloc(file.bytes + 1);
    uint8_t shade = take(rest);
    for (size_t i = 0; i < file.bytes; i++)
        file.content[i] = (uint8_t)(shade += 31);
    for (size_t i = 0; i < file.bytes; i += record_bytes)
        for (size_t l = 0; l < (size_t)set->label_bytes && i + l < file.bytes; l++)
            file.content[i + l] = take(rest);
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), set->name[f]);
    snprintf(elsewhere, sizeof elsewhere, "%s.target", path);
    if (file.kind == REGULAR)
        fuzz_write(path, file.content, file.bytes);
    else if (file.kind == LINK) { /* users keep data where there is room */
        fuzz_write(elsewhere, file.content, file.bytes);
        fuzz_require(symlink(elsewhere, path) == 0, "%s: no link", path);
    } else if (file.kind == FOLDER)
        fuzz_require(mkdir(path, 0777) == 0, "%s: no folder", path);
    else if (file.kind == PIPE)
        fuzz_require(mkfifo(path, 0666) == 0, "%s: no pipe", path);
    else if (file.kind == DANGLING)
        fuzz_require(symlink(elsewhere, path) == 0, "%s: no link", path);
    return file;
}

static void remove_files(const cifar_set *set, cifar_file *files) {
    for (int f = 0; f < set->n_files; f++) {
        char path[PATH_BYTES], elsewhere[PATH_BYTES + 16];
        snprintf(path, sizeof path, "%s/%s", fuzz_folder(), set->name[f]);
        snprintf(elsewhere, sizeof elsewhere, "%s.target", path);
        remove(path);
        remove(elsewhere);
        free(files[f].content);
    }
}

/* What the format says of a file, and the statuses that go with it. */
static sd_status judge(const cifar_set *set, const cifar_file *file) {
    const size_t record_bytes = (size_t)set->label_bytes + IMAGE_BYTES;
    if (file->kind == MISSING || file->kind == DANGLING)
        return SD_ERR_NOINPUT;
    if (file->kind == FOLDER || file->kind == PIPE || file->bytes == 0 || file->bytes % record_bytes)
        return SD_ERR_DATA;
    for (size_t i = 0; i < file->bytes; i++)
        if (i % record_bytes < (size_t)set->label_bytes && file->content[i] >= set->classes[i % record_bytes])
            return SD_ERR_DATA;
    return SD_OK;
}

static sd_status judge_all(const cifar_set *set, const cifar_file *files, const sd_config *config) {
    uint64_t train = 0, validation = 0;
    for (int f = 0; f < set->n_files; f++) {
        sd_status status = judge(set, &files[f]);
        if (status != SD_OK)
            return status;
        *(f + 1 < set->n_files ? &train : &validation) += files[f].bytes / ((size_t)set->label_bytes + IMAGE_BYTES);
    }
    const uint64_t held_out = (uint64_t)config->data.validation;
    if (held_out >= train)
        return SD_ERR_CONFIG;
    if (held_out > 0)
        validation = held_out;
    return (uint64_t)config->data.train_samples > train - held_out || (uint64_t)config->data.val_samples > validation
               ? SD_ERR_CONFIG
               : SD_OK;
}

/* Image `index` of the training files, or of the test file. */
static const uint8_t *record_of(const cifar_set *set, const cifar_file *files, bool test, uint32_t index) {
    const size_t record_bytes = (size_t)set->label_bytes + IMAGE_BYTES;
    int f = test ? set->n_files - 1 : 0;
    for (; index >= files[f].bytes / record_bytes; f++)
        index -= (uint32_t)(files[f].bytes / record_bytes);
    return files[f].content + index * record_bytes;
}

static void expect_images(const cifar_set *set, const cifar_file *files, const sd_dataset *dataset, sd_split split) {
    sd_sample image = {0};
    for (uint32_t i = 0; i < sd_dataset_images(dataset, split); i++) {
        const uint8_t *record = record_of(set, files, split == SD_SPLIT_VALIDATION, i);
        fuzz_require(sd_dataset_read(dataset, split, i, &image) == SD_OK, "image %u: %s", i, sd_error_message());
        fuzz_require(image.h * image.w * SD_CHANNELS == IMAGE_BYTES, "size of image %u", i);
        fuzz_require(image.label == record[set->label_bytes - 1], "label of image %u", i);
        for (size_t p = 0; p < IMAGE_BYTES; p++)
            fuzz_require(image.pixels[p] == record[(size_t)set->label_bytes + p % 3 * 1024 + p / 3],
                         "image %u, byte %zu", i, p);
    }
    sd_sample_free(&image);
}

static void open_and_read(const cifar_set *set, const cifar_file *files, const sd_config *config) {
    sd_dataset *dataset = NULL;
    const sd_status expected = judge_all(set, files, config);
    sd_error_clear();
    const sd_data_spec spec = sd_config_data(config);
    sd_status status = sd_dataset_open(&spec, &dataset);
    fuzz_require(status == expected, "status %d, where %d is right: %s", (int)status, (int)expected,
                 sd_error_message());
    fuzz_require((status == SD_OK) == (dataset != NULL), "a dataset, and status %d", (int)status);
    fuzz_require(status == SD_OK || status == SD_ERR_CONFIG || strstr(sd_error_message(), fuzz_folder()),
                 "the file is not named: %s", sd_error_message());
    if (status == SD_OK && config->data.validation == 0) {
        expect_images(set, files, dataset, SD_SPLIT_TRAIN);
        expect_images(set, files, dataset, SD_SPLIT_VALIDATION);
    }
    sd_dataset_close(&dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static sd_config config; /* large */
    cifar_file files[MOST_FILES];
    if (n < HEADER_BYTES + MOST_FILES * FILE_BYTES)
        return 0;
    const cifar_set *set = &sets[bytes[0] & 1];
    source rest = {bytes + HEADER_BYTES + MOST_FILES * FILE_BYTES, n - HEADER_BYTES - MOST_FILES * FILE_BYTES, 0};
    for (int f = 0; f < set->n_files; f++)
        files[f] = write_file(set, f, bytes + HEADER_BYTES + FILE_BYTES * f, &rest);
    sd_config_init(&config);
    config.data.dataset = bytes[0] & 1 ? SD_DATASET_CIFAR100 : SD_DATASET_CIFAR10;
    snprintf(config.data.path, sizeof config.data.path, "%s", fuzz_folder());
    config.data.validation = bytes[1] % 16;
    config.data.train_samples = bytes[2] % 16;
    config.data.val_samples = bytes[3] % 8;
    open_and_read(set, files, &config);
    remove_files(set, files);
    return 0;
}
