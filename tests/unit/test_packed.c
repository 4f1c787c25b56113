/* SPDX-License-Identifier: Apache-2.0 */
/* Packed sets: what a folder or CIFAR's files give is what comes back, and nothing else is taken for a packed set. */
#include <hdf5.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../src/data/packed.h"
#include "../support.h"

enum { SIDE = 32, RECORD = 1 + 3 * SIDE * SIDE, PER_FILE = 4, TEST = 3 };

static char root[SUPPORT_PATH_BYTES], out[PATH_BYTES];

static void begin(void) {
    make_folder(root);
    path_in(root, "set.h5", out);
}
static void end(void) { remove_folder(root); }

static const char *at(const char *name, char path[PATH_BYTES]) { return path_in(root, name, path); }

/* ---- sources ---- */

/* Copies golden images into a class. */
static void put_images(const char *class, const char *const *names) {
    char path[PATH_BYTES], from[SUPPORT_PATH_BYTES];
    size_t n, made;
    expect_ok(sd_file_make_folders(at(class, path), &made));
    for (int i = 0; names[i]; i++) {
        char *bytes = read_bytes(path_in(SD_IMAGES_DIR, names[i], path), &n);
        snprintf(from, sizeof from, "%s/%s", class, names[i]);
        write_bytes(at(from, path), bytes, n);
        free(bytes);
    }
}
#define put(class, ...) put_images(class, (const char *const[]){__VA_ARGS__, NULL})

static void put_folder(void) {
    put("images/train/a", "1x1.jpg", "420.jpg", "1x7.png");
    put("images/train/b", "444.jpg", "1x1.png");
    put("images/val/a", "422.jpg");
    put("images/val/b", "411.jpg", "1x7.jpg");
}

static void put_cifar(void) {
    char path[PATH_BYTES], name[64];
    size_t made;
    uint8_t *records = malloc(PER_FILE * RECORD);
    expect_ok(sd_file_make_folders(at("images", path), &made));
    for (int f = 0; f <= 5; f++) {
        for (int i = 0; i < PER_FILE * RECORD; i++)
            records[i] =
                (uint8_t)(i % RECORD == 0 ? (uint32_t)((f * 3 + i / RECORD) % 10)
                                          : sd_random_at(SUPPORT_SEED, 77, (uint64_t)f, (uint64_t)i).word[0] & 255);
        snprintf(name, sizeof name, f < 5 ? "images/data_batch_%d.bin" : "images/test_batch.bin", f + 1);
        write_bytes(at(name, path), records, (size_t)(f < 5 ? PER_FILE : TEST) * RECORD);
    }
    free(records);
}

static sd_status packed(bool decoded, bool skip_bad, sd_pack_info *info) {
    char path[PATH_BYTES];
    const sd_pack_spec spec = {
        .source = at("images", path), .out = out, .decoded = decoded, .skip_bad = skip_bad, .plain = -1};
    return sd_pack(&spec, info);
}

/* ---- comparing ---- */

typedef struct opened {
    sd_found *found;
    sd_dataset *dataset;
} opened;

static sd_status try_open_part(sd_data_spec spec, opened *o) {
    spec.normalise = "dataset";
    *o = (opened){0};
    SD_TRY(sd_data_find(&spec, &o->found));
    spec.found = o->found;
    return sd_dataset_open(&spec, &o->dataset);
}

static sd_status try_open(sd_dataset_kind kind, const char *path, opened *o) {
    return try_open_part((sd_data_spec){.kind = kind, .path = path}, o);
}

static void close_set(opened *o) {
    sd_dataset_close(&o->dataset);
    sd_found_free(&o->found);
}

static void expect_equal_normalisation(const sd_dataset *a, const sd_dataset *b) {
    expect_same_bits("mean", sd_dataset_mean(a), sd_dataset_mean(b), SD_CHANNELS * sizeof(float));
    expect_same_bits("deviation", sd_dataset_deviation(a), sd_dataset_deviation(b), SD_CHANNELS * sizeof(float));
}

static void expect_equal_sets(sd_dataset_kind kind, int image_size) {
    char path[PATH_BYTES];
    opened a, b;
    sd_sample x = {0}, y = {0};
    expect_ok(try_open(kind, at("images", path), &a));
    expect_ok(try_open(SD_DATASET_HDF5, out, &b));
    ck_assert_int_eq(sd_dataset_samples(a.dataset).classes, sd_dataset_samples(b.dataset).classes);
    ck_assert_int_eq(sd_dataset_samples(b.dataset).image_size, image_size);
    expect_equal_normalisation(a.dataset, b.dataset);
    for (int c = 0; c < sd_dataset_samples(a.dataset).classes; c++)
        ck_assert_str_eq(sd_dataset_class(a.dataset, c), sd_dataset_class(b.dataset, c));
    for (int split = 0; split < 2; split++) {
        const uint32_t n = sd_dataset_images(a.dataset, (sd_split)split);
        ck_assert_uint_eq(n, sd_dataset_images(b.dataset, (sd_split)split));
        for (uint32_t i = 0; i < n; i++) {
            expect_ok(sd_dataset_read(a.dataset, (sd_split)split, i, &x));
            expect_ok(sd_dataset_read(b.dataset, (sd_split)split, i, &y));
            expect(x.h == y.h && x.w == y.w && x.label == y.label, "image %u: %d x %d of %d, %d x %d of %d", i, x.w,
                   x.h, x.label, y.w, y.h, y.label);
            expect_same_bits("pixels", x.pixels, y.pixels, (size_t)x.h * (size_t)x.w * 3);
        }
    }
    sd_sample_free(&x);
    sd_sample_free(&y);
    close_set(&a);
    close_set(&b);
}

static void expect_nothing_is_left(void) {
    char part[PATH_BYTES + 8];
    snprintf(part, sizeof part, "%s.part", out);
    expect(access(out, F_OK) != 0 && access(part, F_OK) != 0, "a file is left");
}

/* ---- round trips ---- */

START_TEST(a_folder_comes_back_as_it_was) {
    sd_pack_info info, verified;
    begin();
    put_folder();
    expect_ok(packed(false, false, &info));
    expect(info.encoded && info.images[0] == 5 && info.images[1] == 3 && info.classes == 2 && info.left_out == 0,
           "info");
    expect_equal_sets(SD_DATASET_FOLDER, 224);
    expect(sd_pack_is(out), "it is not known");
    expect_ok(sd_pack_verify(out, NULL, &verified));
    ck_assert_uint_eq(verified.bytes, info.bytes);
    end();
}
END_TEST

START_TEST(cifar_comes_back_as_it_was) {
    sd_pack_info info;
    begin();
    put_cifar();
    expect_ok(packed(false, false, &info));
    expect(!info.encoded && info.height == SIDE && info.width == SIDE && info.classes == 10, "info");
    expect_equal_sets(SD_DATASET_CIFAR10, SIDE);
    end();
}
END_TEST

START_TEST(decoded_images_of_one_size_come_back_as_they_were) {
    sd_pack_info info;
    begin();
    put("images/train/a", "1x7.png", "1x7.jpg");
    put("images/train/b", "1x7.jpg");
    expect_ok(packed(true, false, &info));
    expect(!info.encoded && info.images[1] == 0, "info");
    expect_equal_sets(SD_DATASET_FOLDER, 224); /* they are not square */
    put("images/train/c", "1x1.png", "420.jpg");
    unlink(out);
    expect_refused(packed(true, false, &info), SD_ERR_DATA, "train/c/1x1.png", "train/a/1x7.jpg", "--decoded", NULL);
    expect_nothing_is_left();
    end();
}
END_TEST

START_TEST(a_part_of_a_set_is_normalised_as_that_part_of_its_source) {
    static const sd_data_spec parts[] = {
        {.validation = 2, .seed = SUPPORT_SEED}, {.train_samples = 2}, {.validation = 1, .train_samples = 1}};
    sd_pack_info info;
    char path[PATH_BYTES];
    begin();
    put_folder();
    expect_ok(packed(false, false, &info));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        sd_data_spec spec = parts[i];
        opened all, a, b;
        spec.kind = SD_DATASET_FOLDER;
        spec.path = at("images", path);
        expect_ok(try_open_part(spec, &a));
        spec.kind = SD_DATASET_HDF5;
        spec.path = out;
        expect_ok(try_open_part(spec, &b));
        expect_ok(try_open(SD_DATASET_HDF5, out, &all));
        expect_equal_normalisation(a.dataset, b.dataset);
        expect(sd_dataset_mean(all.dataset)[0] != sd_dataset_mean(b.dataset)[0], "part %zu: the mean is of all", i);
        close_set(&all);
        close_set(&a);
        close_set(&b);
    }
    end();
}
END_TEST

START_TEST(measuring_names_the_first_bad_image) {
    char path[PATH_BYTES];
    opened o;
    begin();
    put_folder();
    put("images/train/b", "bad-filter.png");
    put("images/train/c", "bad-few-rows.png", "bad-filter.png");
    sd_kernels_set_threads(4);
    for (int i = 0; i < 50; i++) {
        expect_refused(try_open(SD_DATASET_FOLDER, at("images", path), &o), SD_ERR_DATA, "train/b/bad-filter.png",
                       NULL);
        close_set(&o);
    }
    end();
}
END_TEST

START_TEST(the_same_images_give_the_same_file) {
    sd_pack_info info;
    size_t n[2];
    begin();
    put_folder();
    expect_ok(packed(false, false, &info));
    char *first = read_bytes(out, &n[0]);
    expect_ok(packed(false, false, &info)); /* replaces it */
    char *second = read_bytes(out, &n[1]);
    ck_assert_uint_eq(n[0], n[1]);
    expect_same_bits("file", first, second, n[0]);
    free(first);
    free(second);
    end();
}
END_TEST

START_TEST(a_bad_image_is_named_or_left_out) {
    sd_pack_info info, verified;
    begin();
    put_folder();
    put("images/train/a", "bad-filter.png");
    put("images/val/b", "bad-few-rows.png");
    expect_refused(packed(false, false, &info), SD_ERR_DATA, "train/a/bad-filter.png", NULL);
    expect_nothing_is_left();
    expect_ok(packed(false, true, &info));
    expect(info.left_out == 2 && info.images[0] == 5 && info.images[1] == 3, "%u are left out", info.left_out);
    expect_ok(sd_pack_verify(out, NULL, &verified));
    char path[PATH_BYTES];
    unlink(at("images/train/a/bad-filter.png", path));
    unlink(at("images/val/b/bad-few-rows.png", path));
    expect_equal_sets(SD_DATASET_FOLDER, 224);
    end();
}
END_TEST

START_TEST(bad_images_are_left_out_of_decoded_ones) {
    sd_pack_info info;
    begin();
    put("images/train/a", "1x7.png", "1x7.jpg", "bad-filter.png");
    put("images/train/b", "bad-few-rows.png", "1x7.jpg");
    put("images/val/b", "1x7.png");
    expect_ok(packed(true, true, &info));
    expect(info.left_out == 2 && info.images[0] == 3 && info.images[1] == 1, "%u are left out", info.left_out);
    char path[PATH_BYTES];
    unlink(at("images/train/a/bad-filter.png", path));
    unlink(at("images/train/b/bad-few-rows.png", path));
    expect_equal_sets(SD_DATASET_FOLDER, 224);
    unlink(at("images/val/b/1x7.png", path));
    put("images/val/b", "bad-filter.png");
    for (int decoded = 0; decoded < 2; decoded++)
        expect_refused(packed(decoded, true, &info), SD_ERR_DATA, "none of its test images", NULL);
    end();
}
END_TEST

/* ---- refusals ---- */

static void expect_damaged(const unsigned char *bytes, size_t n, const char *word) {
    opened o;
    write_bytes(out, bytes, n);
    expect_refused(try_open(SD_DATASET_HDF5, out, &o), SD_ERR_DATA, out, word, NULL);
    ck_assert_ptr_null(o.dataset);
    close_set(&o);
}

static unsigned char *packed_folder(size_t *n) {
    sd_pack_info info;
    put_folder();
    expect_ok(packed(false, false, &info));
    return (unsigned char *)read_bytes(out, n);
}

START_TEST(every_byte_of_the_header_counts) {
    size_t n;
    begin();
    unsigned char *bytes = packed_folder(&n);
    for (size_t i = 0; i < SD_PACKED_HEADER_BYTES; i++) {
        bytes[i] ^= 0x10;
        expect_damaged(bytes, n, i < 8 ? "sdtrain pack" : "pack it again");
        bytes[i] ^= 0x10;
    }
    free(bytes);
    end();
}
END_TEST

START_TEST(every_byte_behind_it_is_verified) {
    size_t n;
    sd_pack_info info;
    begin();
    unsigned char *bytes = packed_folder(&n);
    for (size_t i = SD_PACKED_HEADER_BYTES; i < n; i += 61) {
        bytes[i] ^= 1;
        write_bytes(out, bytes, n);
        expect_refused(sd_pack_verify(out, NULL, &info), SD_ERR_DATA, out, "altered", NULL);
        bytes[i] ^= 1;
    }
    free(bytes);
    end();
}
END_TEST

START_TEST(files_of_another_length_are_refused) {
    size_t n;
    begin();
    unsigned char *bytes = packed_folder(&n);
    expect_damaged(bytes, 0, "empty");
    expect_damaged(bytes, 5, "sdtrain pack");
    for (size_t cut = 8; cut < n; cut += 1 + n / 97)
        expect_damaged(bytes, cut, "is cut");
    expect_damaged(bytes, n - 1, "is cut");
    expect_damaged(bytes, n + 1, "has grown"); /* read_bytes() has put a zero there */
    free(bytes);
    end();
}
END_TEST

START_TEST(other_files_are_refused) {
    opened o;
    char path[PATH_BYTES];
    begin();
    expect_damaged((const unsigned char *)"\x89HDF\r\n\x1a\n and more", 17, "sdtrain pack");
    expect_refused(try_open(SD_DATASET_HDF5, at("none.h5", path), &o), SD_ERR_NOINPUT, "none.h5", NULL);
    expect_refused(try_open(SD_DATASET_HDF5, root, &o), SD_ERR_DATA, "sdtrain pack", NULL);
    end();
}
END_TEST

/* One number that cannot be, sealed. */
typedef struct forgery {
    void (*change)(sd_packed_header *h);
    const char *word;
} forgery;

static void no_images(sd_packed_header *h) { h->images[0] = 0; }
static void more_images(sd_packed_header *h) { h->images[0]++; }
static void many_images(sd_packed_header *h) { h->images[1] = UINT32_MAX; }
static void no_test_images(sd_packed_header *h) { h->images[1] = 0; }
static void no_classes(sd_packed_header *h) { h->classes = 0; }
static void many_classes(sd_packed_header *h) { h->classes = UINT32_MAX; }
static void odd_classes(sd_packed_header *h) { h->classes = 3; }
static void a_height(sd_packed_header *h) { h->height = 1; }
static void decoded_without_size(sd_packed_header *h) { h->kind = SD_PACKED_DECODED; }
static void too_wide(sd_packed_header *h) {
    h->kind = SD_PACKED_DECODED;
    h->height = 1;
    h->width = 65501;
}
static void too_many_pixels(sd_packed_header *h) {
    h->kind = SD_PACKED_DECODED;
    h->height = h->width = 65500;
}
static void mean_nan(sd_packed_header *h) { h->mean[1] = NAN; }
static void deviation_zero(sd_packed_header *h) { h->deviation[2] = 0; }
static void deviation_infinite(sd_packed_header *h) { h->deviation[0] = INFINITY; }
static void in_the_header(sd_packed_header *h) { h->array[SD_PACKED_LABELS].at = 8; }
static void on_another(sd_packed_header *h) { h->array[SD_PACKED_LABELS].at = h->array[SD_PACKED_OFFSETS].at + 8; }
static void beyond_the_end(sd_packed_header *h) { h->array[SD_PACKED_IMAGES].bytes = h->file_bytes; }
static void around_the_end(sd_packed_header *h) { h->array[SD_PACKED_IMAGES].at = UINT64_MAX - 1; }
static void no_encoded(sd_packed_header *h) { h->array[SD_PACKED_IMAGES].bytes = 0; }
static void no_offsets(sd_packed_header *h) { h->array[SD_PACKED_VAL_OFFSETS] = (sd_packed_array){0}; }
static void long_names(sd_packed_header *h) { h->array[SD_PACKED_CLASSES].bytes = UINT64_MAX - 1; }
static void less_encoded(sd_packed_header *h) { h->array[SD_PACKED_IMAGES].bytes--; }

START_TEST(a_sealed_header_that_cannot_be_is_refused) {
    static const forgery rows[] = {{no_images, "number of images"},
                                   {more_images, "length of an array"},
                                   {many_images, "number of images"},
                                   {no_test_images, "length"},
                                   {no_classes, "classes"},
                                   {many_classes, "classes"},
                                   {odd_classes, "names of classes"},
                                   {a_height, "height"},
                                   {decoded_without_size, "height"},
                                   {too_wide, "width"},
                                   {too_many_pixels, "width"},
                                   {mean_nan, "mean"},
                                   {deviation_zero, "deviation"},
                                   {deviation_infinite, "deviation"},
                                   {in_the_header, "outside"},
                                   {on_another, "another"},
                                   {beyond_the_end, "outside"},
                                   {around_the_end, "outside"},
                                   {no_encoded, "length"},
                                   {no_offsets, "length"},
                                   {long_names, "names"},
                                   {less_encoded, "lies outside"}};
    size_t n;
    begin();
    unsigned char *bytes = packed_folder(&n);
    sd_packed_header good;
    expect_ok(sd_packed_header_read(out, bytes, n, n, &good));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_packed_header h = good;
        rows[i].change(&h);
        sd_packed_header_write(&h, bytes);
        expect_damaged(bytes, n, rows[i].word);
    }
    free(bytes);
    end();
}
END_TEST

/* Changes bytes of an array, and seals that. */
static void forge(unsigned char *bytes, size_t n, sd_packed_part part, size_t place, const void *with,
                  size_t with_bytes, const char *word) {
    unsigned char *copy = malloc(n);
    sd_packed_header h;
    memcpy(copy, bytes, n);
    sd_packed_header_get(copy, &h);
    memcpy(copy + h.array[part].at + place, with, with_bytes);
    expect_damaged(copy, n, "altered");
    sd_packed_digest(copy + h.array[part].at, h.array[part].bytes, h.array[part].digest);
    sd_packed_header_write(&h, copy);
    expect_damaged(copy, n, word);
    free(copy);
}

START_TEST(sealed_arrays_that_cannot_be_are_refused) {
    const uint64_t one = 1, much = UINT64_MAX, zero = 0;
    const int32_t two = 2, negative = -1;
    size_t n;
    begin();
    unsigned char *bytes = packed_folder(&n);
    forge(bytes, n, SD_PACKED_OFFSETS, 0, &one, 8, "[0] is not 0");
    forge(bytes, n, SD_PACKED_OFFSETS, 8, &zero, 8, "[1] is not above");
    forge(bytes, n, SD_PACKED_OFFSETS, 16, &one, 8, "[2] is not above");
    forge(bytes, n, SD_PACKED_VAL_OFFSETS, 24, &much, 8, "/val/offsets[3] lies outside");
    forge(bytes, n, SD_PACKED_LABELS, 4, &two, 4, "/train/labels[1]");
    forge(bytes, n, SD_PACKED_VAL_LABELS, 0, &negative, 4, "/val/labels[0]");
    forge(bytes, n, SD_PACKED_CLASSES, 1, "x", 1, "/classes[0]");
    free(bytes);
    end();
}
END_TEST

START_TEST(a_bad_image_in_the_file_is_named_when_it_is_read) {
    opened o;
    sd_packed_header h;
    sd_sample x = {0};
    size_t n;
    begin();
    unsigned char *bytes = packed_folder(&n);
    sd_packed_header_get(bytes, &h);
    uint64_t second;
    memcpy(&second, bytes + h.array[SD_PACKED_OFFSETS].at + 8, sizeof second);
    bytes[h.array[SD_PACKED_IMAGES].at + second] = 'x';
    write_bytes(out, bytes, n);
    sd_data_spec spec = {.kind = SD_DATASET_HDF5, .path = out, .normalise = "dataset"}; /* reads no images */
    expect_ok(sd_data_find(&spec, &o.found));
    spec.found = o.found;
    expect_ok(sd_dataset_open(&spec, &o.dataset));
    expect_ok(sd_dataset_read(o.dataset, SD_SPLIT_TRAIN, 0, &x));
    expect_refused(sd_dataset_read(o.dataset, SD_SPLIT_TRAIN, 1, &x), SD_ERR_DATA, out, "/train image 1", NULL);
    sd_sample_free(&x);
    close_set(&o);
    free(bytes);
    end();
}
END_TEST

START_TEST(what_was_found_travels_as_bytes) {
    sd_data_spec spec = {.kind = SD_DATASET_HDF5, .path = out};
    sd_pack_info info;
    sd_found *found, *other;
    const void *packed_bytes;
    size_t n;
    begin();
    put_cifar();
    expect_ok(packed(false, false, &info));
    ck_assert_int_eq(sd_dataset_describe(&spec).classes, 0); /* nothing is known yet */
    expect_ok(sd_data_find(&spec, &found));
    sd_found_bytes(found, &packed_bytes, &n);
    unsigned char *copy = malloc(n);
    for (size_t i = 16; i < 16 + SD_PACKED_HEADER_BYTES; i += 7) {
        memcpy(copy, packed_bytes, n);
        copy[i] ^= 4;
        expect_refused(sd_found_of_bytes(copy, n, &other), SD_ERR_DATA, "packed set", NULL);
        ck_assert_ptr_null(other);
    }
    memcpy(copy, packed_bytes, n);
    expect_refused(sd_found_of_bytes(copy, n - 1, &other), SD_ERR_DATA, "packed set", NULL);
    expect_ok(sd_found_of_bytes(copy, n, &other));
    spec.found = other;
    ck_assert_int_eq(sd_dataset_describe(&spec).classes, 10);
    ck_assert_int_eq(sd_dataset_describe(&spec).image_size, SIDE);
    sd_found_free(&other);
    spec.found = NULL;
    sd_dataset *dataset;
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_INTERNAL, "not found", NULL);
    spec.found = found; /* of a file that another one has replaced since */
    put("images2/train/a", "1x1.png");
    char path[PATH_BYTES];
    const sd_pack_spec again = {.source = at("images2", path), .out = out, .plain = -1};
    expect_ok(sd_pack(&again, &info));
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_DATA, "another packed set", NULL);
    sd_found_free(&found);
    end();
}
END_TEST

/* ---- plain HDF5 files ---- */

typedef struct layout {
    const char *images, *labels;
    hid_t type, label_type; /* in the file */
    int dims;
    hsize_t shape[4];
    bool column, compressed; /* labels [N, 1]; images in compressed chunks */
} layout;

static void write_dataset(hid_t file, const char *name, hid_t type, hid_t memory, int dims, const hsize_t *shape,
                          bool compressed, const void *values) {
    hid_t space = H5Screate_simple(dims, shape, NULL), groups = H5Pcreate(H5P_LINK_CREATE),
          how = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[4] = {3, shape[1], shape[2], shape[3]};
    H5Pset_create_intermediate_group(groups, 1);
    if (compressed) {
        H5Pset_chunk(how, dims, chunk);
        H5Pset_deflate(how, 4);
    }
    hid_t dataset = H5Dcreate2(file, name, type, space, groups, how, H5P_DEFAULT);
    expect(dataset >= 0 && H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0, "%s", name);
    H5Dclose(dataset);
    H5Pclose(how);
    H5Pclose(groups);
    H5Sclose(space);
}

/* Pixel (i, y, x, c) is i + 2 y + 5 x + 11 c, label i is i % 3. */
static void write_plain(const char *path, const layout *rows, int n) {
    uint8_t pixels[8 * 4 * 5 * 3];
    int32_t labels[8];
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    for (; n > 0; n--, rows++) {
        const bool planar = rows->dims == 4 && rows->shape[1] == 3 && rows->shape[3] != 3;
        for (int i = 0; i < 8; i++)
            for (int y = 0; y < 4; y++)
                for (int x = 0; x < 5; x++)
                    for (int c = 0; c < 3; c++)
                        pixels[planar ? ((i * 3 + c) * 4 + y) * 5 + x : ((i * 4 + y) * 5 + x) * 3 + c] =
                            (uint8_t)(i + 2 * y + 5 * x + 11 * c);
        for (int i = 0; i < 8; i++)
            labels[i] = i % 3;
        const hsize_t column[2] = {8, 1};
        write_dataset(file, rows->images, rows->type, H5T_NATIVE_UINT8, rows->dims, rows->shape, rows->compressed,
                      pixels);
        write_dataset(file, rows->labels, rows->label_type, H5T_NATIVE_INT32, rows->column ? 2 : 1, column, false,
                      labels);
    }
    H5Fclose(file);
}

/* As the tool does: another process reads. */
static sd_status packed_plain(const char *path) {
    sd_pack_info info;
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        sd_pack_serve_plain(path, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    const sd_pack_spec spec = {.source = path, .out = out, .plain = ends[0]};
    const sd_status status = sd_pack(&spec, &info);
    close(ends[0]);
    waitpid(child, NULL, 0);
    return status;
}

static void expect_plain_pixels(int parts) {
    opened o;
    sd_sample s = {0};
    expect_ok(try_open(SD_DATASET_HDF5, out, &o));
    ck_assert_int_eq(sd_dataset_samples(o.dataset).classes, 3);
    ck_assert_str_eq(sd_dataset_class(o.dataset, 2), "2");
    for (int split = 0; split < 2; split++) {
        ck_assert_uint_eq(sd_dataset_images(o.dataset, (sd_split)split), split < parts ? 8 : 0);
        for (uint32_t i = 0; split < parts && i < 8; i++) {
            expect_ok(sd_dataset_read(o.dataset, (sd_split)split, i, &s));
            expect(s.h == 4 && s.w == 5 && s.label == (int)i % 3, "image %u", i);
            for (int y = 0; y < 4; y++)
                for (int x = 0; x < 5; x++)
                    for (int c = 0; c < 3; c++)
                        expect(s.pixels[(y * 5 + x) * 3 + c] == (uint8_t)((int)i + 2 * y + 5 * x + 11 * c),
                               "image %u, %d, %d, %d", i, y, x, c);
        }
    }
    sd_sample_free(&s);
    close_set(&o);
}

#define NHWC .dims = 4, .shape = {8, 4, 5, 3}
#define NCHW .dims = 4, .shape = {8, 3, 4, 5}

START_TEST(plain_files_of_many_names_are_packed) {
    const layout train_val[] = {{"train/images", "train/labels", H5T_STD_U8LE, H5T_STD_I64LE, NHWC},
                                {"validation/images", "validation/labels", H5T_STD_U8LE, H5T_STD_I64LE, NHWC}},
                 keras[] = {{"x_train", "y_train", H5T_STD_U8LE, H5T_STD_U8LE, NHWC, .column = true},
                            {"x_test", "y_test", H5T_STD_U8LE, H5T_STD_U8LE, NHWC, .column = true}},
                 planes[] = {{"train_img", "train_labels", H5T_STD_U8BE, H5T_STD_I32BE, NCHW, .compressed = true},
                             {"test_img", "test_labels", H5T_STD_U8BE, H5T_STD_I32BE, NCHW}},
                 alone[] = {{"images", "labels", H5T_STD_U8LE, H5T_STD_U16LE, NHWC, .compressed = true}};
    const struct {
        const layout *rows;
        int n;
    } files[] = {{train_val, 2}, {keras, 2}, {planes, 2}, {alone, 1}};
    char path[PATH_BYTES];
    begin();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_plain(at("plain.h5", path), files[i].rows, files[i].n);
        expect_ok(packed_plain(path));
        expect_plain_pixels(files[i].n);
    }
    end();
}
END_TEST

START_TEST(plain_files_of_other_content_are_refused) {
    const struct {
        layout row;
        const char *word;
    } files[] = {
        {{"images", "labels", H5T_IEEE_F32LE, H5T_STD_U8LE, NHWC}, "float32"},
        {{"images", "labels", H5T_STD_I8LE, H5T_STD_U8LE, NHWC}, "int8"},
        {{"images", "labels", H5T_STD_U16LE, H5T_STD_U8LE, NHWC}, "uint16"},
        {{"images", "labels", H5T_STD_U8LE, H5T_IEEE_F64LE, NHWC}, "float64"},
        {{"images", "labels", H5T_STD_U8LE, H5T_STD_U8LE, .dims = 3, .shape = {8, 4, 5}}, "[8, 4, 5]"},
        {{"images", "labels", H5T_STD_U8LE, H5T_STD_U8LE, .dims = 4, .shape = {7, 4, 5, 3}}, "[7] is expected"},
        {{"pictures", "labels", H5T_STD_U8LE, H5T_STD_U8LE, NHWC}, "no images and labels"},
    };
    char path[PATH_BYTES];
    begin();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_plain(at("plain.h5", path), &files[i].row, 1);
        expect_refused(packed_plain(path), SD_ERR_DATA, path, files[i].word, NULL);
        expect_nothing_is_left();
    }
    write_bytes(path, "text", 4);
    expect_refused(packed_plain(path), SD_ERR_DATA, path, "no HDF5 file", NULL);
    expect_refused(packed_plain("/nonexistent.h5"), SD_ERR_NOINPUT, "/nonexistent.h5", NULL);
    end();
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("packed");
    tcase_add_test(cases, a_folder_comes_back_as_it_was);
    tcase_add_test(cases, cifar_comes_back_as_it_was);
    tcase_add_test(cases, decoded_images_of_one_size_come_back_as_they_were);
    tcase_add_test(cases, a_part_of_a_set_is_normalised_as_that_part_of_its_source);
    tcase_add_test(cases, measuring_names_the_first_bad_image);
    tcase_add_test(cases, the_same_images_give_the_same_file);
    tcase_add_test(cases, a_bad_image_is_named_or_left_out);
    tcase_add_test(cases, bad_images_are_left_out_of_decoded_ones);
    tcase_add_test(cases, every_byte_of_the_header_counts);
    tcase_add_test(cases, every_byte_behind_it_is_verified);
    tcase_add_test(cases, files_of_another_length_are_refused);
    tcase_add_test(cases, other_files_are_refused);
    tcase_add_test(cases, a_sealed_header_that_cannot_be_is_refused);
    tcase_add_test(cases, sealed_arrays_that_cannot_be_are_refused);
    tcase_add_test(cases, a_bad_image_in_the_file_is_named_when_it_is_read);
    tcase_add_test(cases, what_was_found_travels_as_bytes);
    tcase_add_test(cases, plain_files_of_many_names_are_packed);
    tcase_add_test(cases, plain_files_of_other_content_are_refused);
    return run_suite("packed", cases);
}
