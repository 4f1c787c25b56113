/* SPDX-License-Identifier: Apache-2.0 */
/* CIFAR-10 and CIFAR-100 in their official binary layout (Krizhevsky 2009): records of one label byte (CIFAR-100:
 * coarse and fine label) and three planes of 32 x 32 bytes, red, green, blue. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "sdtrain/hash.h"
#include "source.h"

enum {
    SIDE = 32,
    PLANE = SIDE * SIDE,
    IMAGE_BYTES = PLANE * SD_CHANNELS,
    MAX_FILES = 5,
    PATH_BYTES = 4096 /* Linux's limit */
};

typedef struct cifar {
    sd_source source;
    const char *const *names; /* of classes */
    size_t label_bytes;       /* labels in front of a record's image; the last one is used */
    uint8_t *train, *test;    /* records */
} cifar;

typedef struct cifar_kind {
    const char *folder, *train_files[MAX_FILES], *test_file;
    int n_train_files;
    size_t label_bytes;
    const char *const *names;
    int classes[2]; /* of each label byte; the last one is used */
} cifar_kind;

/* As in batches.meta.txt, and in fine_label_names of CIFAR-100's Python version. */
static const char *const cifar10_names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                            "dog",      "frog",       "horse", "ship", "truck"};
static const char *const cifar100_names[] = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

static const cifar_kind cifar10 = {
    .folder = "cifar-10-batches-bin",
    .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
    .test_file = "test_batch.bin",
    .n_train_files = 5,
    .label_bytes = 1,
    .names = cifar10_names,
    .classes = {10}};
static const cifar_kind cifar100 = {.folder = "cifar-100-binary",
                                    .train_files = {"train.bin"},
                                    .test_file = "test.bin",
                                    .n_train_files = 1,
                                    .label_bytes = 2,
                                    .names = cifar100_names,
                                    .classes = {20, 100}};

static sd_status read_image(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    const cifar *data = (const cifar *)source;
    const uint8_t *record = (test ? data->test : data->train) + (size_t)index * (data->label_bytes + IMAGE_BYTES);
    const uint8_t *image = record + data->label_bytes;
    SD_TRY(sd_sample_resize(sample, SIDE, SIDE));
    uint8_t *pixels = sample->pixels;
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < SD_CHANNELS; c++)
            *pixels++ = image[c * PLANE + i];
    sample->label = record[data->label_bytes - 1];
    return SD_OK;
}

static const char *class_name(const sd_source *source, int label) { return ((const cifar *)source)->names[label]; }

static void close_cifar(sd_source *source) {
    cifar *data = (cifar *)source;
    free(data->train);
    free(data->test);
    free(data);
}

static sd_status check_labels(const char *path, const cifar_kind *kind, const uint8_t *records, size_t n) {
    const size_t record_bytes = kind->label_bytes + IMAGE_BYTES;
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < kind->label_bytes; l++)
            if (records[i * record_bytes + l] >= kind->classes[l])
                return sd_fail(SD_ERR_DATA,
                               "%s: record %zu (byte %zu) has label %d; labels are 0 to %d; get the file again", path,
                               i, i * record_bytes + l, records[i * record_bytes + l], kind->classes[l] - 1);
    return SD_OK;
}

/* Appends the records of one file; checks its size and every label. */
static sd_status load_file(const char *path, const cifar_kind *kind, uint8_t **records, uint32_t *n) {
    const size_t record_bytes = kind->label_bytes + IMAGE_BYTES;
    size_t bytes;
    int fd;
    sd_status status = sd_file_open(path, &fd, &bytes);
    if (status == SD_ERR_NOINPUT) {
        char reason[PATH_BYTES + 128];
        snprintf(reason, sizeof reason, "%s", sd_error_message());
        return sd_fail(status, "%s; launch/get-data.sh downloads the dataset, and data.path names its folder", reason);
    }
    SD_TRY(status);
    if (bytes == 0 || bytes % record_bytes != 0) {
        status = sd_fail(SD_ERR_DATA,
                         "%s: has %zu bytes, which is not a whole number of records of %zu bytes; get the file "
                         "again",
                         path, bytes, record_bytes);
    } else {
        const size_t before = *n * record_bytes;
        uint8_t *grown = realloc(*records, before + bytes);
        if (!grown) {
            status = sd_fail(SD_ERR_MEMORY, "%s: out of memory: %zu bytes were needed", path, before + bytes);
        } else {
            *records = grown;
            status = sd_file_read(fd, path, grown + before, bytes);
        }
        if (status == SD_OK)
            status = check_labels(path, kind, *records + before, bytes / record_bytes);
        *n += (uint32_t)(bytes / record_bytes);
    }
    close(fd);
    return status;
}

static sd_status load_files(const char *folder, const cifar_kind *kind, cifar *data) {
    char path[PATH_BYTES + 32];
    for (int i = 0; i < kind->n_train_files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, kind->train_files[i]);
        SD_TRY(load_file(path, kind, &data->train, &data->source.n_train));
    }
    snprintf(path, sizeof path, "%s/%s", folder, kind->test_file);
    return load_file(path, kind, &data->test, &data->source.n_test);
}

static uint64_t hash_records(const cifar *data) {
    const size_t record_bytes = data->label_bytes + IMAGE_BYTES;
    const uint64_t parts[] = {sd_hash(data->train, data->source.n_train * record_bytes),
                              sd_hash(data->test, data->source.n_test * record_bytes)};
    return sd_hash(parts, sizeof parts);
}

static const cifar_kind *kind_of(const sd_data_spec *spec) {
    return spec->kind == SD_DATASET_CIFAR10 ? &cifar10 : &cifar100;
}

static sd_sample_spec describe(const sd_data_spec *spec) {
    const cifar_kind *kind = kind_of(spec);
    return (sd_sample_spec){.image_size = SIDE, .classes = kind->classes[kind->label_bytes - 1]};
}

static sd_status open_cifar(const sd_data_spec *spec, sd_source **source) {
    const cifar_kind *kind = kind_of(spec);
    cifar *data;
    SD_TRY(sd_alloc(&data, 1, sizeof *data));
    data->source =
        (sd_source){.samples = describe(spec), .read = read_image, .close = close_cifar, .class_name = class_name};
    data->names = kind->names;
    data->label_bytes = kind->label_bytes;

    char folder[PATH_BYTES];
    struct stat info;
    snprintf(folder, sizeof folder, "%s/%s", spec->path, kind->folder);
    if (stat(folder, &info) != 0) /* path is the folder itself */
        snprintf(folder, sizeof folder, "%s", spec->path);
    sd_status status = load_files(folder, kind, data);
    data->source.bytes = ((size_t)data->source.n_train + data->source.n_test) * (kind->label_bytes + IMAGE_BYTES);
    if (status != SD_OK) {
        close_cifar(&data->source);
        return status;
    }
    data->source.hash = hash_records(data);
    *source = &data->source;
    return SD_OK;
}

const sd_source_kind sd_cifar10_source = {describe, open_cifar, NULL},
                     sd_cifar100_source = {describe, open_cifar, NULL};
