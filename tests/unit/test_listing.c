/* SPDX-License-Identifier: Apache-2.0 */
/* data/listing: order and labels as of torchvision's ImageFolder, layouts, links, refusals, the packed form, the
 * fingerprint. */
#include "../../src/data/listing.h"

#include <fcntl.h>

#include "../../src/data/natural_order.h"
#include "../support.h"

/* ---- trees ---- */

static char root[SUPPORT_PATH_BYTES];

static void begin(void) { make_folder(root); }
static void end(void) { remove_folder(root); }

static const char *at(const char *name, char path[PATH_BYTES]) { return path_in(root, name, path); }

static void put_folders(const char *name) {
    char path[PATH_BYTES];
    put_folders_of(at(name, path));
}

static void put_bytes(const char *name, size_t bytes) {
    static const char zeros[64];
    char path[PATH_BYTES];
    put_folders(name);
    write_bytes(at(name, path), zeros, bytes);
}

/* Folders end with a slash, files hold 3 bytes. A list that ends with NULL. */
static void put_all(const char *const *names) {
    for (; *names; names++)
        if ((*names)[strlen(*names) - 1] == '/')
            put_folders(*names);
        else
            put_bytes(*names, 3);
}
#define put(...) put_all((const char *const[]){__VA_ARGS__, NULL})

static void put_link(const char *target, const char *name) {
    char path[PATH_BYTES];
    put_folders(name);
    ck_assert_int_eq(symlink(target, at(name, path)), 0);
}

static sd_listing *scanned(void) {
    sd_listing *listing;
    expect_ok(sd_listing_scan(root, &listing));
    return listing;
}

#define expect_scan_refused(code, ...)                                                                                 \
    do {                                                                                                               \
        sd_listing *refused_ = (sd_listing *)root;                                                                     \
        expect_refused(sd_listing_scan(root, &refused_), code, __VA_ARGS__, NULL);                                     \
        ck_assert_ptr_null(refused_);                                                                                  \
    } while (0)

/* "LABEL PATH" of each image, its path from root; a list that ends with NULL. */
static void expect_images_of(const sd_listing *listing, bool test, const char *const *lines) {
    uint32_t n = 0;
    for (; lines[n]; n++) {
        char path[SD_LISTING_PATH_BYTES], line[SD_LISTING_PATH_BYTES];
        expect(n < sd_listing_images(listing, test), "there are %u images; '%s' is missing", n, lines[n]);
        sd_listing_path(listing, test, n, path);
        ck_assert_int_eq(strncmp(path, root, strlen(root)), 0);
        ck_assert_int_eq(path[strlen(root)], '/');
        snprintf(line, sizeof line, "%d %.4000s", (int)sd_listing_label(listing, test, n), path + strlen(root) + 1);
        ck_assert_str_eq(line, lines[n]);
    }
    ck_assert_uint_eq(sd_listing_images(listing, test), n);
}
#define expect_images(listing, test, ...) expect_images_of(listing, test, (const char *const[]){__VA_ARGS__, NULL})

/* Scans, with what is written to stderr meanwhile; the list may be NULL. Caller frees. */
static char *warnings_of(sd_status expected) {
    char path[PATH_BYTES];
    sd_listing *listing;
    size_t n;
    snprintf(path, sizeof path, "%s.log", root);
    fflush(stderr);
    const int before = dup(STDERR_FILENO), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, STDERR_FILENO);
    sd_log_mute(0);
    const sd_status status = sd_listing_scan(root, &listing);
    sd_log_mute(1);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    close(file);
    expect(status == expected, "status %d: %s", (int)status, sd_error_message());
    sd_listing_free(&listing);
    char *text = read_bytes(path, &n);
    remove(path);
    return text;
}

#define expect_warning(...)                                                                                            \
    do {                                                                                                               \
        char *text_ = warnings_of(SD_OK);                                                                              \
        expect_words(text_, (const char *const[]){"warning: ", __VA_ARGS__, NULL});                                    \
        expect(strchr(text_, '\n') == text_ + strlen(text_) - 1, "not one line: %s", text_);                           \
        free(text_);                                                                                                   \
    } while (0)

static void expect_no_warning(void) {
    char *text = warnings_of(SD_OK);
    ck_assert_str_eq(text, "");
    free(text);
}

/* ---- order ---- */

/* The expected order is what torchvision 0.29.2's ImageFolder gave for this tree. */
START_TEST(classes_and_images_are_in_the_order_of_torchvision) {
    put("10/10.png", "10/2.png", "10/B.png", "10/a.png", "2/x.JPG", "2/x.JpEg", "Zebra/1.jpg", "ape/.jpg",
        "ape/.hidden.png", "ape/notes.txt", "ape/a/z.png", "ape/a/b/y.png", "ape/a b/x.png", "ape/a-b/x.png",
        "ape/a.b/x.png", "ape/a0/x.png", "ape/a/c.png", "ape/A/c.png", "ape/z.png", "ape/.dot/q.png",
        "ape/folder.png/image.jpg", "ape/empty/", "ape/jpg", "ape/x.jpg.txt", "\xc3\xa4pfel/\xc3\xa9.png",
        "\xc3\xa4pfel/e\xcc\x81.png", "\xc3\xa4pfel/z.png", "\xf0\x9f\x90\x88/1.png", "\xef\xbc\xa1/1.png",
        "of two words/a  b.png", "of two words/a b.png", "of two words/a.b.png", "~/1.png", "-/1.png", ".c/1.png",
        "beside.png");
    sd_listing *listing = scanned();
    const char *const classes[] = {
        "-", ".c", "10", "2", "Zebra", "ape", "of two words", "~", "\xc3\xa4pfel", "\xef\xbc\xa1", "\xf0\x9f\x90\x88"};
    ck_assert_int_eq(sd_listing_classes(listing), 11);
    for (int c = 0; c < 11; c++)
        ck_assert_str_eq(sd_listing_class(listing, c), classes[c]);
    expect_images(listing, false, "0 -/1.png", "1 .c/1.png", "2 10/10.png", "2 10/2.png", "2 10/B.png", "2 10/a.png",
                  "3 2/x.JPG", "3 2/x.JpEg", "4 Zebra/1.jpg", "5 ape/.hidden.png", "5 ape/.jpg", "5 ape/z.png",
                  "5 ape/.dot/q.png", "5 ape/A/c.png", "5 ape/a/c.png", "5 ape/a/z.png", "5 ape/a b/x.png",
                  "5 ape/a-b/x.png", "5 ape/a.b/x.png", "5 ape/a/b/y.png", "5 ape/a0/x.png",
                  "5 ape/folder.png/image.jpg", "6 of two words/a  b.png", "6 of two words/a b.png",
                  "6 of two words/a.b.png", "7 ~/1.png", "8 \xc3\xa4pfel/e\xcc\x81.png", "8 \xc3\xa4pfel/z.png",
                  "8 \xc3\xa4pfel/\xc3\xa9.png", "9 \xef\xbc\xa1/1.png", "10 \xf0\x9f\x90\x88/1.png");
    ck_assert_uint_eq(sd_listing_images(listing, true), 0);
    sd_listing_free(&listing);
    ck_assert_ptr_null(listing);
}
END_TEST

START_TEST(names_are_compared_as_timm_does) {
    static const struct {
        const char *a, *b;
        int order;
    } rows[] = {{"2", "10", -1},      {"a2", "a10", -1},  {"a10b", "a10a", 1},
                {"A", "a", 0},        {"B", "a", 1},      {"01", "1", 0},
                {"", "a", -1},        {"a", "a1", -1},    {"a1", "ab", -1},
                {"1", "a", -1},       {"a1b", "a1", 1},   {"a1b2", "a1b10", -1},
                {"n02", "N1", 1},     {"x.1", "x1", 1},   {"99999999999999999999", "100000000000000000000", -1},
                {"\xc3\xa4", "z", 1}, {"0", "00", 0},     {"a_b", "aab", -1},
                {"a00", "a0b", -1},   {"same", "same", 0}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const int order = sd_natural_compare(rows[r].a, rows[r].b), other = sd_natural_compare(rows[r].b, rows[r].a);
        expect((order > 0) - (order < 0) == rows[r].order, "'%s' to '%s' is %d", rows[r].a, rows[r].b, order);
        expect((other > 0) - (other < 0) == -rows[r].order, "'%s' to '%s' is %d", rows[r].b, rows[r].a, other);
    }
}
END_TEST

START_TEST(a_warning_names_two_classes_that_timm_orders_otherwise) {
    put("1/a.png", "10/a.png", "2/a.png", "Dog/a.png", "cat/a.png");
    expect_warning("'10' before '2'", "timm", root);
    end();
    begin();
    put("Dog/a.png", "c\nat/a.png");
    expect_warning("'Dog' before 'c?at'");
    end();
    begin();
    put("01/a.png", "02/a.png", "1/a.png", "Cat/a.png", "dog/a.png");
    expect_warning("'02' before '1'");
    end();
    begin();
    put("Cat/a.png", "cat/a.png", "n01/a.png", "n2/a.png");
    expect_no_warning();
}
END_TEST

/* ---- layouts ---- */

START_TEST(both_splits_are_listed_with_the_labels_of_training) {
    static const char *const trains[] = {"train", "training", "Train"}, *const tests[] = {
                                                                            "val",        "valid", "validation", "eval",
                                                                            "evaluation", "test",  "Test"};
    for (int r = 0; r < 7; r++) {
        char names[5][64], line[5][80];
        snprintf(names[0], 64, "%s/b/2.png", trains[r % 3]);
        snprintf(names[1], 64, "%s/a/1.png", trains[r % 3]);
        snprintf(names[2], 64, "%s/c/3.png", trains[r % 3]);
        snprintf(names[3], 64, "%s/c/4.png", tests[r]);
        snprintf(names[4], 64, "%s/a/5.png", tests[r]);
        put(names[0], names[1], names[2], names[3], names[4], "README.txt");
        static const int label[] = {1, 0, 2, 2, 0};
        for (int i = 0; i < 5; i++)
            snprintf(line[i], sizeof line[i], "%d %.63s", label[i], names[i]);
        sd_listing *listing = scanned();
        ck_assert_int_eq(sd_listing_classes(listing), 3);
        expect_images(listing, false, line[1], line[0], line[2]);
        expect_images(listing, true, line[4], line[3]);
        sd_listing_free(&listing);
        expect_warning("2 of the 3 classes", "'b' is missing", tests[r]);
        end();
        begin();
    }
}
END_TEST

START_TEST(training_alone_has_no_test_images) {
    put("train/a/1.png", "train/loose.png");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 train/a/1.png");
    ck_assert_uint_eq(sd_listing_images(listing, true), 0);
    sd_listing_free(&listing);
    expect_no_warning();
}
END_TEST

START_TEST(of_several_folders_one_is_taken_and_the_others_are_named) {
    put("train/a/1.png", "training/a/2.png", "test/a/3.png", "evaluation/a/4.png", "valid/a/5.png", "meta/x.txt");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 train/a/1.png");
    expect_images(listing, true, "0 valid/a/5.png");
    sd_listing_free(&listing);
    expect_warning("'train' and 'valid'", "not used: 'evaluation', 'meta', 'test', 'training'");
    put("TRAIN/b/1.png", "val/a/6.png");
    listing = scanned();
    expect_images(listing, false, "0 train/a/1.png"); /* as it is written, before another case */
    expect_images(listing, true, "0 val/a/6.png");
    sd_listing_free(&listing);
}
END_TEST

/* CIFAR-100 has a class "train". */
START_TEST(a_class_may_be_named_as_a_split) {
    put("bus/1.png", "train/2.png", "test/deep/3.png");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 bus/1.png", "1 test/deep/3.png", "2 train/2.png");
    sd_listing_free(&listing);
    char *text = warnings_of(SD_OK);
    expect_words(text, (const char *const[]){"'train' is taken for a class", "'test' is taken for a class", NULL});
    free(text);
}
END_TEST

START_TEST(other_layouts_are_refused) {
    char path[PATH_BYTES];
    expect_scan_refused(SD_ERR_DATA, root, "CLASS/IMAGE");
    put("1.png", "2.png");
    expect_scan_refused(SD_ERR_DATA, root, "CLASS/IMAGE");
    put("val/a/1.png", "test/a/1.png");
    expect_scan_refused(SD_ERR_DATA, root, "'test'", "'train'");
    put("train/1.png");
    expect_scan_refused(SD_ERR_DATA, "/train: ", "CLASS/IMAGE");
    put("train/a/1.png");
    sd_listing *listing = scanned();
    sd_listing_free(&listing);
    put("train/b/1.png", "val/b.d/1.png");
    expect_scan_refused(SD_ERR_DATA, "/val", "/train", "'b.d'");
    end();
    begin();
    put("train/a/1.png", "val/1.png");
    expect_scan_refused(SD_ERR_DATA, "/val: ", "CLASS/IMAGE");
    end();
    expect_scan_refused(SD_ERR_NOINPUT, root, "No such file");
    begin();
    put("a/1.png");
    strcat(root, "/a/1.png");
    expect_scan_refused(SD_ERR_NOINPUT, root);
    *strstr(root, "/a/1.png") = '\0';
    sd_listing *none;
    expect_refused(sd_listing_scan("", &none), SD_ERR_NOINPUT, NULL);
    (void)at("", path);
    expect_ok(sd_listing_scan(path, &none)); /* a slash at its end */
    char image[SD_LISTING_PATH_BYTES], expected[PATH_BYTES];
    ck_assert_str_eq(sd_listing_path(none, false, 0, image), at("a/1.png", expected));
    sd_listing_free(&none);
}
END_TEST

/* ---- files ---- */

START_TEST(classes_without_images_are_refused) {
    put("a/1.png", "b/1.txt", "b/deeper/");
    expect_scan_refused(SD_ERR_DATA, "/b: ", "no image");
    put("b/deeper/1.png");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 a/1.png", "1 b/deeper/1.png");
    sd_listing_free(&listing);
    put(".checkpoints/");
    expect_scan_refused(SD_ERR_DATA, "/.checkpoints: ", "no image");
    end();
    begin();
    put("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/");
    expect_scan_refused(SD_ERR_DATA, "/val/b: ", "no image");
}
END_TEST

START_TEST(images_of_other_formats_are_refused_by_name) {
    static const char *const names[] = {"x.ppm", "x.bmp", "x.pgm", "x.tif", "x.TIFF", "x.webp", "x.Gif", ".gif"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64], path[PATH_BYTES];
        snprintf(name, sizeof name, "a/deep/%s", names[i]);
        put("a/1.png", name);
        expect_scan_refused(SD_ERR_DATA, at(name, path), "format");
        ck_assert_int_eq(remove(at(name, path)), 0);
    }
    put("a/xgif", "a/gif", "a/x.gif.txt", "a/x.svg", "a/x.jpgx", "x.gif");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 a/1.png");
    sd_listing_free(&listing);
}
END_TEST

START_TEST(messages_are_one_line_whatever_a_name_holds) {
    put("a/1.png", "a\n\033[31m/x\r.gif");
    expect_scan_refused(SD_ERR_DATA, "/a??[31m/x?.gif");
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused) {
    char path[PATH_BYTES];
    put("a/1.png");
    ck_assert_int_eq(mkfifo(at("a/2.txt", path), 0666), 0);
    sd_listing *listing = scanned();
    sd_listing_free(&listing);
    ck_assert_int_eq(mkfifo(at("a/2.png", path), 0666), 0);
    expect_scan_refused(SD_ERR_DATA, path, "regular");
}
END_TEST

START_TEST(folders_that_cannot_be_read_are_refused) {
    static const char *const folders[] = {"train/a/deep", "train/a", "train", "val", ""};
    char path[PATH_BYTES];
    put("train/a/1.png", "train/a/deep/1.png", "val/a/1.png");
    if (geteuid() == 0) { /* who may read all; nobody may not */
        static const char *const all[] = {"", "train", "train/a", "train/a/deep", "val", "val/a"};
        for (int i = 0; i < 6; i++)
            ck_assert_int_eq(chown(at(all[i], path), 65534, 65534), 0);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(chmod(at(folders[i], path), 0), 0);
        expect_scan_refused(SD_ERR_NOINPUT, folders[i][0] ? path : root, "Permission denied");
        ck_assert_int_eq(chmod(path, 0700), 0);
    }
    ck_assert_int_eq(chmod(at("train/a/deep", path), 0400), 0); /* names, but not what they are */
    expect_scan_refused(SD_ERR_NOINPUT, "/train/a/deep/1.png", "Permission denied");
    ck_assert_int_eq(chmod(path, 0700), 0);
    sd_listing *listing = scanned();
    sd_listing_free(&listing);
    ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(links_are_followed) {
    char target[PATH_BYTES];
    put("store/pile/1.png", "store/pile/more/2.png", "data/a/own.png");
    put_bytes("store/seven.bin", 7);
    put_link("../store/pile", "data/b");
    put_link(at("store/pile", target), "data/a/linked");
    put_link("../../store/pile", "data/a/again");
    put_link("../../store/seven.bin", "data/a/seven.png");
    put_link("nowhere", "data/a/note.txt");
    put_link("itself", "data/a/itself");
    put_link("own.png/below", "data/a/below");
    strcat(root, "/data");
    sd_listing *listing = scanned();
    expect_images(listing, false, "0 a/own.png", "0 a/seven.png", "0 a/again/1.png", "0 a/again/more/2.png",
                  "0 a/linked/1.png", "0 a/linked/more/2.png", "1 b/1.png", "1 b/more/2.png");
    ck_assert_uint_eq(sd_listing_file_bytes(listing, false, 0), 3);
    ck_assert_uint_eq(sd_listing_file_bytes(listing, false, 1), 7);
    sd_listing_free(&listing);
    put_link("nowhere", "a/gone.png");
    expect_scan_refused(SD_ERR_NOINPUT, "/data/a/gone.png");
    *strrchr(root, '/') = '\0';
}
END_TEST

START_TEST(links_in_circles_are_refused) {
    static const char *const targets[] = {".", "..", "../..", "../../a/deep", "../../b"};
    char path[PATH_BYTES];
    put("a/deep/1.png", "b/1.png");
    put_link("../a/deep", "b/back");
    sd_listing *listing = scanned(); /* the same folder twice is no circle */
    ck_assert_uint_eq(sd_listing_images(listing, false), 3);
    sd_listing_free(&listing);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        put_link(targets[i], "a/deep/round");
        expect_scan_refused(SD_ERR_DATA, "a/deep/round", "link");
        ck_assert_int_eq(remove(at("a/deep/round", path)), 0);
    }
}
END_TEST

START_TEST(paths_beyond_the_limit_are_refused) {
    enum { LONG = 200 };
    char name[LONG + 1] = "", path[PATH_BYTES];
    memset(name, 'd', LONG);
    put("a/1.png");
    int folder = open(at("a", path), O_RDONLY | O_DIRECTORY);
    size_t length = strlen(path);
    while (length + 1 < SD_LISTING_PATH_BYTES - 10) { /* so that images of ten letters are beyond */
        const size_t left = SD_LISTING_PATH_BYTES - 10 - length - 1;
        name[left < LONG ? left : LONG] = '\0';
        ck_assert_int_eq(mkdirat(folder, name, 0777), 0);
        const int next = openat(folder, name, O_RDONLY | O_DIRECTORY);
        close(folder);
        folder = next;
        length += strlen(name) + 1;
    }
    close(openat(folder, "1234.png", O_WRONLY | O_CREAT, 0666)); /* 4086 + 1 + 8 = 4095 letters */
    sd_listing *listing = scanned();
    char image[SD_LISTING_PATH_BYTES];
    ck_assert_uint_eq(strlen(sd_listing_path(listing, false, 1, image)), SD_LISTING_PATH_BYTES - 1);
    ck_assert_int_eq(access(image, F_OK), 0);
    sd_listing_free(&listing);
    close(openat(folder, "12345.png", O_WRONLY | O_CREAT, 0666));
    expect_scan_refused(SD_ERR_DATA, "too long", "12345.png");
    unlinkat(folder, "12345.png", 0);
    close(folder);
}
END_TEST

/* ---- the packed form ---- */

static void *packed_copy(const sd_listing *listing, size_t *n) {
    const void *bytes;
    sd_listing_pack(listing, &bytes, n);
    void *copy = malloc(*n);
    memcpy(copy, bytes, *n);
    return copy;
}

/* Every accessor, at every place; bytes: of the list. */
static void expect_in_bounds(const sd_listing *listing, const char *bytes, size_t n) {
    const int32_t classes = sd_listing_classes(listing);
    ck_assert_int_ge(classes, 0);
    for (int32_t c = 0; c < classes; c++) {
        const char *name = sd_listing_class(listing, c);
        expect(name >= bytes && name < bytes + n && memchr(name, 0, (size_t)(bytes + n - name)), "class %d", c);
    }
    for (int test = 0; test < 2; test++)
        for (uint32_t i = 0; i < sd_listing_images(listing, test); i++) {
            char path[SD_LISTING_PATH_BYTES + 1];
            path[SD_LISTING_PATH_BYTES] = 77;
            sd_listing_path(listing, test, i, path);
            expect(path[SD_LISTING_PATH_BYTES] == 77 && strnlen(path, sizeof path) < SD_LISTING_PATH_BYTES,
                   "path of image %u", i);
            const int32_t label = sd_listing_label(listing, test, i);
            expect(label >= 0 && label < classes, "label %d of image %u", label, i);
            (void)sd_listing_file_bytes(listing, test, i);
        }
    (void)sd_listing_fingerprint(listing);
}

static sd_listing *small_listing(void) {
    put("train/a/1.png", "train/a/deep/2.png", "train/b/3.png", "val/b/4.png");
    return scanned();
}

START_TEST(a_packed_list_is_the_same_list) {
    sd_listing *listing = small_listing(), *other;
    size_t n;
    void *bytes = packed_copy(listing, &n);
    expect_ok(sd_listing_unpack(bytes, n, &other));
    ck_assert_uint_eq(sd_listing_fingerprint(other), sd_listing_fingerprint(listing));
    sd_listing_free(&listing);
    ck_assert_int_eq(sd_listing_classes(other), 2);
    ck_assert_str_eq(sd_listing_class(other, 1), "b");
    expect_images(other, false, "0 train/a/1.png", "0 train/a/deep/2.png", "1 train/b/3.png");
    expect_images(other, true, "1 val/b/4.png");
    sd_listing_free(&other);
}
END_TEST

START_TEST(packed_lists_that_are_cut_or_longer_are_refused) {
    sd_listing *listing = small_listing(), *other;
    size_t n;
    char *whole = packed_copy(listing, &n);
    for (size_t cut = 0; cut < n; cut++) {
        char *bytes = malloc(cut);
        memcpy(bytes, whole, cut);
        expect_refused(sd_listing_unpack(bytes, cut, &other), SD_ERR_DATA, "list of images", NULL);
        ck_assert_ptr_null(other);
        free(bytes);
    }
    whole = realloc(whole, n + 1);
    whole[n] = 0;
    expect_refused(sd_listing_unpack(whole, n + 1, &other), SD_ERR_DATA, "length", NULL);
    free(whole);
    sd_listing_free(&listing);
}
END_TEST

START_TEST(packed_lists_with_any_byte_changed_are_refused_or_stay_in_bounds) {
    sd_listing *listing = small_listing(), *other;
    size_t n, refused = 0;
    char *bytes = packed_copy(listing, &n);
    for (size_t b = 0; b < n; b++)
        for (int change = 1; change < 256; change++) {
            bytes[b] = (char)(bytes[b] ^ change);
            if (sd_listing_unpack(bytes, n, &other) == SD_OK)
                expect_in_bounds(other, bytes, n);
            else
                refused++;
            bytes[b] = (char)(bytes[b] ^ change);
        }
    /* At least: any change of the 40 bytes of the header, but for moving images between the splits. */
    ck_assert_uint_gt(refused, 36 * 255);
    expect_ok(sd_listing_unpack(bytes, n, &other));
    sd_listing_free(&other);
    sd_listing_free(&listing);
}
END_TEST

/* The path of every image is put together in a buffer of the caller's. */
START_TEST(packed_lists_with_paths_beyond_the_limit_are_refused) {
    char name[SD_LISTING_PATH_BYTES];
    for (int letters = 4085; letters <= 4095; letters++) {
        sd_listing_builder builder = {0};
        sd_listing *listing = NULL, *other;
        memset(name, 'x', (size_t)letters);
        name[letters] = '\0';
        expect_ok(sd_listing_begin(&builder, "root"));
        expect_ok(sd_listing_add_class(&builder, name)); /* has no limit of its own */
        expect_ok(sd_listing_add_folder(&builder, "a", 0));
        if (letters > SD_LISTING_PATH_BYTES - 1 - 7) { /* root/a/ */
            expect_refused(sd_listing_add_image(&builder, name, 1), SD_ERR_DATA, "too long", NULL);
            sd_listing_abandon(&builder);
            continue;
        }
        expect_ok(sd_listing_add_image(&builder, name, 1));
        expect_ok(sd_listing_finish(&builder, &listing));
        size_t n;
        char *bytes = packed_copy(listing, &n);
        expect_in_bounds(listing, (const char *)listing, n);
        bytes[n - 1 - (size_t)letters - 1] = 'b'; /* the folder's path goes on with the image's name */
        expect_refused(sd_listing_unpack(bytes, n, &other), SD_ERR_DATA, "too long", NULL);
        free(bytes);
        sd_listing_free(&listing);
    }
}
END_TEST

/* 16 bytes and the name an image; a list as long as ImageNet's is to cost less than 100 MB. */
START_TEST(a_long_list_is_small) {
    enum { IMAGES = 200000, CLASSES = 1000, PER_CLASS = IMAGES / CLASSES };
    sd_listing_builder builder = {0};
    sd_listing *listing;
    char name[64], path[SD_LISTING_PATH_BYTES], expected[256];
    size_t n, text_bytes = strlen("/data/imagenet") + 1;
    expect_ok(sd_listing_begin(&builder, "/data/imagenet"));
    for (int c = 0; c < CLASSES; c++) {
        text_bytes += (size_t)snprintf(name, sizeof name, "n%08d", c) + 1;
        expect_ok(sd_listing_add_class(&builder, name));
    }
    for (int i = 0; i < IMAGES; i++) {
        if (i % PER_CLASS == 0) {
            text_bytes += (size_t)snprintf(name, sizeof name, "train/n%08d", i / PER_CLASS) + 1;
            expect_ok(sd_listing_add_folder(&builder, name, i / PER_CLASS));
        }
        text_bytes += (size_t)snprintf(name, sizeof name, "n%08d_%d.JPEG", i / PER_CLASS, i % PER_CLASS) + 1;
        expect_ok(sd_listing_add_image(&builder, name, 1000 + (uint64_t)i));
    }
    expect_ok(sd_listing_finish(&builder, &listing));
    void *bytes = packed_copy(listing, &n);
    sd_listing_free(&listing);
    ck_assert_uint_eq(n, 40 + 16 * IMAGES + 12 * CLASSES + text_bytes);
    ck_assert_uint_lt(n * 1281167 / IMAGES, 100000000);
    expect_ok(sd_listing_unpack(bytes, n, &listing));
    ck_assert_uint_eq(sd_listing_images(listing, false), IMAGES);
    for (int i = 0; i < IMAGES; i++) {
        const int c = i / PER_CLASS;
        snprintf(expected, sizeof expected, "/data/imagenet/train/n%08d/n%08d_%d.JPEG", c, c, i % PER_CLASS);
        expect(!strcmp(sd_listing_path(listing, false, (uint32_t)i, path), expected), "%s is %s", expected, path);
        expect(sd_listing_label(listing, false, (uint32_t)i) == c, "label of %s", expected);
        expect(sd_listing_file_bytes(listing, false, (uint32_t)i) == 1000 + (uint64_t)i, "size of %s", expected);
    }
    sd_listing_free(&listing);
}
END_TEST

/* ---- the fingerprint ---- */

static uint64_t fingerprint(void) {
    sd_listing *listing = scanned();
    const uint64_t value = sd_listing_fingerprint(listing);
    sd_listing_free(&listing);
    return value;
}

static void put_fingerprinted(void) { put("train/a/1.png", "train/a/2.png", "train/b/3.png", "val/b/4.png"); }

START_TEST(the_fingerprint_is_of_names_sizes_and_splits_wherever_they_lie) {
    static const char *const moves[][2] = {{"train/a/1.png", "train/a/1.jpg"}, /* renamed */
                                           {"train/a/1.png", "train/a/0.png"}, /* and still the first */
                                           {"train/b", "train/c"},             /* refused: val/b is no class */
                                           {"train/a", "train/A"},             /* a class renamed */
                                           {"train/a/1.png", "train/b/1.png"}, /* another class */
                                           {"train/a/1.png", "val/b/1.png"},   /* another split */
                                           {"val", "unused"}};
    enum { MOVES = sizeof moves / sizeof moves[0] };
    uint64_t seen[MOVES + 4];
    int n = 0;
    char from[PATH_BYTES], to[PATH_BYTES];
    put_fingerprinted();
    seen[n++] = fingerprint();
    ck_assert_uint_eq(fingerprint(), seen[0]);
    for (int m = 0; m < MOVES; m++) {
        ck_assert_int_eq(rename(at(moves[m][0], from), at(moves[m][1], to)), 0);
        if (m == 2)
            expect_scan_refused(SD_ERR_DATA, "'b'");
        else
            seen[n++] = fingerprint();
        ck_assert_int_eq(rename(to, from), 0);
        ck_assert_uint_eq(fingerprint(), seen[0]);
    }
    put_bytes("train/a/1.png", 4);
    seen[n++] = fingerprint();
    put_bytes("train/a/1.png", 3);
    put("train/a/3.png");
    seen[n++] = fingerprint();
    ck_assert_int_eq(remove(at("train/a/3.png", from)), 0);
    ck_assert_uint_eq(fingerprint(), seen[0]);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            expect(seen[i] != seen[j], "fingerprints %d and %d are one", i, j);
    end();
    begin(); /* a copy, elsewhere */
    put_fingerprinted();
    put("train/loose.png", "train/a/notes.txt");
    ck_assert_uint_eq(fingerprint(), seen[0]);
}
END_TEST

/* Calculated apart from the code: XXH3 of what listing.h says, over rows of 64-bit numbers. */
START_TEST(the_fingerprint_is_that_of_rows_as_documented) {
    put_fingerprinted();
    static const struct {
        const char *path;
        uint64_t label;
    } rows[] = {{"train/a/1.png", 0}, {"train/a/2.png", 0}, {"train/b/3.png", 1}, {"val/b/4.png", 1}};
    uint64_t hash = sd_hash((const uint64_t[]){2, 3, 1}, 24);
    hash = sd_hash((const uint64_t[]){hash, sd_hash("a", 1)}, 16);
    hash = sd_hash((const uint64_t[]){hash, sd_hash("b", 1)}, 16);
    for (int i = 0; i < 4; i++)
        hash = sd_hash((const uint64_t[]){hash, sd_hash(rows[i].path, strlen(rows[i].path)), 3, rows[i].label}, 32);
    ck_assert_uint_eq(fingerprint(), hash);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("listing");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, classes_and_images_are_in_the_order_of_torchvision);
    tcase_add_test(cases, names_are_compared_as_timm_does);
    tcase_add_test(cases, a_warning_names_two_classes_that_timm_orders_otherwise);
    tcase_add_test(cases, both_splits_are_listed_with_the_labels_of_training);
    tcase_add_test(cases, training_alone_has_no_test_images);
    tcase_add_test(cases, of_several_folders_one_is_taken_and_the_others_are_named);
    tcase_add_test(cases, a_class_may_be_named_as_a_split);
    tcase_add_test(cases, other_layouts_are_refused);
    tcase_add_test(cases, classes_without_images_are_refused);
    tcase_add_test(cases, images_of_other_formats_are_refused_by_name);
    tcase_add_test(cases, messages_are_one_line_whatever_a_name_holds);
    tcase_add_test(cases, what_is_no_regular_file_is_refused);
    tcase_add_test(cases, folders_that_cannot_be_read_are_refused);
    tcase_add_test(cases, links_are_followed);
    tcase_add_test(cases, links_in_circles_are_refused);
    tcase_add_test(cases, paths_beyond_the_limit_are_refused);
    tcase_add_test(cases, a_packed_list_is_the_same_list);
    tcase_add_test(cases, packed_lists_that_are_cut_or_longer_are_refused);
    tcase_add_test(cases, packed_lists_with_any_byte_changed_are_refused_or_stay_in_bounds);
    tcase_add_test(cases, packed_lists_with_paths_beyond_the_limit_are_refused);
    tcase_add_test(cases, a_long_list_is_small);
    tcase_add_test(cases, the_fingerprint_is_of_names_sizes_and_splits_wherever_they_lie);
    tcase_add_test(cases, the_fingerprint_is_that_of_rows_as_documented);
    return run_suite("listing", cases);
}
