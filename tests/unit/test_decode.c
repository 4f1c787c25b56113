/* SPDX-License-Identifier: Apache-2.0 */
/* data/image.h: images of every kind against the pixels that Pillow has of them (golden/make_images.py); what is cut,
 * damaged, too large or no image is refused with a reason. */
#include <pthread.h>
#include <sys/resource.h>

#include "../../src/data/image.h"
#include "../support.h"

enum { NAME_BYTES = 64, RGB = 3, MOST_FILES = 100, THREADS = 4 };

/* ---- files of golden/images ---- */

static uint8_t *load(const char *name, size_t *n) {
    char path[PATH_BYTES];
    return (uint8_t *)read_bytes(path_in(SD_IMAGES_DIR, name, path), n);
}

/* A copy of exactly n bytes, so that a sanitizer sees what reads beyond them. */
static uint8_t *copy_of(const uint8_t *bytes, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    return copy;
}

typedef struct golden {
    char name[NAME_BYTES];
    int width, height;
    uint8_t *bytes;
    size_t n_bytes;
    const uint8_t *rgb;
} golden;

static golden goldens[MOST_FILES];
static int n_goldens;

/* Before each test, all of which are processes of their own. */
static void load_goldens(void) {
    size_t n_list, n_rgb, at = 0;
    char *list = (char *)load("list.txt", &n_list), *rest = list;
    uint8_t *rgb = load("expected.rgb", &n_rgb);
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL; n_goldens++) {
        golden *g = &goldens[n_goldens];
        expect(n_goldens < MOST_FILES, "too many files");
        expect(sscanf(line, "%63s %d %d", g->name, &g->width, &g->height) == 3, "list.txt: '%s'", line);
        g->bytes = load(g->name, &g->n_bytes);
        g->rgb = rgb + at;
        at += (size_t)(g->width * g->height * RGB);
    }
    expect(at == n_rgb, "expected.rgb has %zu bytes, not %zu", n_rgb, at);
    free(list);
}

static const golden *find(const char *name) {
    for (int i = 0; i < n_goldens; i++)
        if (!strcmp(goldens[i].name, name))
            return &goldens[i];
    ck_abort_msg("there is no %s", name);
    return NULL;
}

/* ---- expectations ---- */

static void expect_pixels(const char *name, const uint8_t *bytes, size_t n, const golden *g) {
    sd_image image;
    int width, height;
    expect_ok(sd_image_size(name, bytes, n, &width, &height));
    expect_ok(sd_image_decode(name, bytes, n, &image));
    expect(width == g->width && height == g->height, "%s: size %d x %d", name, width, height);
    expect(image.width == width && image.height == height, "%s: decoded to %d x %d", name, image.width, image.height);
    for (int i = 0; i < width * height * RGB; i++)
        expect(image.rgb[i] == g->rgb[i], "%s: row %d, column %d, channel %d is %d, where Pillow has %d", name,
               i / RGB / width, i / RGB % width, i % RGB, image.rgb[i], g->rgb[i]);
    free(image.rgb);
}

/* Refused, naming the file, and with nothing to free. */
#define expect_no_image(bytes, n, ...)                                                                                 \
    do {                                                                                                               \
        sd_image image_ = {1, 1, (uint8_t *)1};                                                                        \
        uint8_t *copy_ = copy_of(bytes, n);                                                                            \
        expect_refused(sd_image_decode("folder/a.png", copy_, n, &image_), SD_ERR_DATA,                                \
                       "folder/a.png: ", __VA_ARGS__);                                                                 \
        ck_assert(!image_.rgb && image_.width == 0 && image_.height == 0);                                             \
        free(copy_);                                                                                                   \
    } while (0)

#define expect_no_image_in(name, ...)                                                                                  \
    do {                                                                                                               \
        size_t n_;                                                                                                     \
        uint8_t *bytes_ = load(name, &n_);                                                                             \
        expect(n_ > 0, "%s is empty", name);                                                                           \
        expect_no_image(bytes_, n_, __VA_ARGS__);                                                                      \
        free(bytes_);                                                                                                  \
    } while (0)

static void expect_size_refused(const char *name, const char *word) {
    size_t n;
    uint8_t *bytes = load(name, &n);
    int width, height;
    expect_refused(sd_image_size(name, bytes, n, &width, &height), SD_ERR_DATA, name, word, NULL);
    free(bytes);
}

/* ---- whole files ---- */

START_TEST(pixels_are_those_of_pillow) {
    expect(n_goldens >= 45, "%d files", n_goldens);
    for (int i = 0; i < n_goldens; i++) {
        uint8_t *copy = copy_of(goldens[i].bytes, goldens[i].n_bytes);
        expect_pixels(goldens[i].name, copy, goldens[i].n_bytes, &goldens[i]);
        free(copy);
    }
}
END_TEST

/* libjpeg-turbo has code for each instruction set; JSIMD_FORCENONE turns it off. */
START_TEST(pixels_do_not_depend_on_the_instruction_set) {
    setenv("JSIMD_FORCENONE", "1", 1);
    for (int i = 0; i < n_goldens; i++)
        expect_pixels(goldens[i].name, goldens[i].bytes, goldens[i].n_bytes, &goldens[i]);
}
END_TEST

static void *decode_all(void *first) {
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < n_goldens; i++) {
            const golden *g = &goldens[(i + *(int *)first) % n_goldens];
            sd_image image;
            if (sd_image_decode(g->name, g->bytes, g->n_bytes, &image) != SD_OK)
                return (void *)g->name;
            const int differs = memcmp(image.rgb, g->rgb, (size_t)(g->width * g->height * RGB));
            free(image.rgb);
            if (differs)
                return (void *)g->name;
        }
    return NULL;
}

START_TEST(threads_decode_at_once) {
    pthread_t thread[THREADS];
    int first[THREADS];
    for (int t = 0; t < THREADS; t++) {
        first[t] = t * n_goldens / THREADS;
        ck_assert_int_eq(pthread_create(&thread[t], NULL, decode_all, &first[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        void *wrong;
        pthread_join(thread[t], &wrong);
        expect(!wrong, "%s was not decoded rightly beside others", (char *)wrong);
    }
}
END_TEST

START_TEST(a_wide_image_is_no_bomb) {
    size_t n;
    uint8_t *bytes = load("wide.png", &n);
    sd_image image;
    expect_ok(sd_image_decode("wide.png", bytes, n, &image));
    ck_assert(image.width == 20000 && image.height == 1);
    for (int i = 0; i < 20000 * RGB; i++)
        expect(image.rgb[i] == (i / RGB % 97 == 0 ? 255 : 0), "pixel %d is %d", i / RGB, image.rgb[i]);
    free(image.rgb);
    free(bytes);
}
END_TEST

START_TEST(what_follows_an_image_is_not_looked_at) {
    static const char *const names[] = {"420.jpg", "progressive.jpg", "rgb-8.png"};
    for (size_t i = 0; i < 3; i++) {
        const golden *g = find(names[i]);
        uint8_t *longer = calloc(g->n_bytes + 100, 1);
        memcpy(longer, g->bytes, g->n_bytes);
        expect_pixels(g->name, longer, g->n_bytes + 100, g);
        free(longer);
    }
}
END_TEST

/* ---- what is no image ---- */

START_TEST(other_content_is_refused_and_named) {
    static const struct {
        const char *bytes, *word;
    } rows[] = {
        {"<!DOCTYPE html>\n<title>404", "HTML"},
        {"\n\n <HTML><body>", "HTML"},
        {"<?xml version=\"1.0\"?><svg>", "SVG"},
        {"just words\n", "text"},
        {"\xef\xbb\xbfname,label\n", "text"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"},
        {"P6\n2 2\n255\n", "Netpbm"},
        {"%PDF-1.4\n", "PDF"},
        {"\x89HDF\r\n\x1a\n", "HDF5"},
        {"\x1f\x8b\x08", "gzip"},
        {"\x01\x02\x03\x04\x05", "01 02 03 04"},
        {"\x01\x02", "2 bytes"},
        {"\xff\xd7\xff\xe0", "ff d7 ff e0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_no_image((const uint8_t *)rows[i].bytes, strlen(rows[i].bytes), rows[i].word, "JPEG and PNG", NULL);
    expect_no_image((const uint8_t *)"\xff\xd8", 2, "is cut short", NULL);
    expect_no_image((const uint8_t *)"\x89PNG\r\n", 6, "is cut short", NULL);
    const uint8_t zeros[100] = {0};
    expect_no_image(zeros, 0, "is empty", NULL);
    expect_no_image(zeros, sizeof zeros, "zero bytes", NULL);
    expect_no_image_in("bad-gif.png", "GIF", NULL);
    expect_no_image_in("bad-webp.png", "WebP", NULL);
    expect_no_image_in("bad-bmp.png", "BMP", NULL);
    expect_no_image_in("bad-tiff.png", "TIFF", NULL);
    expect_size_refused("bad-gif.png", "GIF");
}
END_TEST

START_TEST(headers_that_ask_for_too_much_are_refused) {
    expect_no_image_in("bad-bomb.png", "40000 x 40000", "178956970", NULL);
    expect_no_image_in("bad-wide.png", "70000 x 1", "65500", NULL);
    expect_no_image_in("bad-few-bytes.png", "3000 x 3000", "cannot hold", NULL);
    expect_no_image_in("bad-zero-width.png", "width", NULL);
    expect_size_refused("bad-bomb.png", "40000 x 40000");
    expect_size_refused("bad-few-bytes.png", "cannot hold");
}
END_TEST

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER 1 /* which takes terabytes of addresses */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER 1
#endif
#endif

/* With 16 MB to go, memory for what the headers say would be refused: SD_ERR_MEMORY. */
START_TEST(lengths_in_files_take_no_memory) {
#ifndef HAS_ADDRESS_SANITIZER
    static const char *const names[] = {"bad-bomb.png", "bad-wide.png", "bad-few-bytes.png", "bad-long-text.png"};
    uint8_t *bytes[4];
    size_t n[4];
    unsigned long pages = 0;
    for (int i = 0; i < 4; i++)
        bytes[i] = load(names[i], &n[i]);
    FILE *file = fopen("/proc/self/statm", "r");
    expect(file && fscanf(file, "%lu", &pages) == 1, "/proc/self/statm cannot be read");
    fclose(file);
    const rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (16 << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &(struct rlimit){most, most}), 0);
    expect(malloc(100 << 20) == NULL, "memory is not limited");
    for (int i = 0; i < 4; i++)
        expect_no_image(bytes[i], n[i], NULL);
    const golden *g = find("420.jpg");
    expect_pixels(g->name, g->bytes, g->n_bytes, g);
#endif
}
END_TEST

/* The place of SOF0 in a JPEG file. */
static size_t find_frame(const golden *g) {
    for (size_t i = 0; i + 10 < g->n_bytes; i++)
        if (g->bytes[i] == 0xff && g->bytes[i + 1] == 0xc0)
            return i;
    ck_abort_msg("%s has no baseline frame", g->name);
    return 0;
}

/* FRAME: marker, length (2), precision, height (2), width (2), components. */
START_TEST(jpeg_frames_that_cannot_be_are_refused) {
    static const struct {
        size_t at;
        uint8_t bytes[4];
        size_t n;
        const char *word;
    } rows[] = {
        {5, {0xea, 0x60, 0xea, 0x60}, 4, "60000 x 60000"},
        {5, {0x2e, 0xe0, 0x2e, 0xe0}, 4, "cannot hold 12000 x 12000"},
        {5, {0xff, 0xff, 0xff, 0xff}, 4, "65500"},
        {5, {0, 0}, 2, "JPEG: "},       /* no height */
        {4, {12}, 1, "JPEG: "},         /* bits */
        {9, {2}, 1, "JPEG: "},          /* components, and the length does not fit */
        {11, {0x55}, 1, "JPEG: "},      /* sampling factors */
        {0, {0xff, 0xc3}, 2, ""},       /* lossless; what libjpeg says depends on its version */
        {0, {0xff, 0xd9}, 2, "JPEG: "}, /* the end, and no image before it */
        {2, {0xff, 0xff}, 2, "JPEG: "}, /* length */
    };
    const golden *g = find("420.jpg");
    const size_t frame = find_frame(g);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *bytes = copy_of(g->bytes, g->n_bytes);
        memcpy(bytes + frame + rows[i].at, rows[i].bytes, rows[i].n);
        sd_image image;
        sd_error_clear();
        sd_status status = sd_image_decode("a.jpg", bytes, g->n_bytes, &image);
        expect(status == SD_ERR_DATA && strstr(sd_error_message(), "a.jpg: ") &&
                   strstr(sd_error_message(), rows[i].word),
               "row %zu: status %d, '%s'", i, (int)status, sd_error_message());
        free(bytes);
    }
}
END_TEST

/* A file of one progressive scan after another for nearly no bytes each. */
START_TEST(a_jpeg_of_many_scans_is_refused) {
    const golden *g = find("gray-progressive.jpg");
    size_t first = 0, last = 0; /* of its scans' headers: the first scan is repeated */
    for (size_t i = g->n_bytes - 1; i-- > 0;)
        if (g->bytes[i] == 0xff && g->bytes[i + 1] == 0xda) {
            last = first ? first : g->n_bytes - 2;
            first = i;
        }
    size_t n_scan = last - first;
    for (size_t i = first + 2; i < last; i++) /* up to the tables between two scans */
        if (g->bytes[i] == 0xff && g->bytes[i + 1] != 0) {
            n_scan = i - first;
            break;
        }
    for (int scans = 90; scans <= 120; scans += 30) {
        uint8_t *bytes = malloc(first + (size_t)scans * n_scan + 2), *end = bytes + first;
        memcpy(bytes, g->bytes, first);
        for (int i = 0; i < scans; i++, end += n_scan)
            memcpy(end, g->bytes + first, n_scan);
        *end++ = 0xff;
        *end++ = 0xd9;
        sd_image image;
        sd_status status = sd_image_decode("a.jpg", bytes, (size_t)(end - bytes), &image);
        if (scans == 90)
            expect(status == SD_OK, "%d scans: %s", scans, sd_error_message());
        else
            expect(status == SD_ERR_DATA && strstr(sd_error_message(), "more than 100 scans"), "%d scans: %s", scans,
                   sd_error_message());
        free(image.rgb);
        free(bytes);
    }
}
END_TEST

/* ---- cut and damaged ---- */

/* The last two bytes only say that this was the end. As Pillow, libjpeg may have all pixels without them. */
START_TEST(a_jpeg_that_is_cut_anywhere_is_refused) {
    static const char *const names[] = {"420.jpg", "progressive.jpg", "gray.jpg", "cmyk.jpg", "restarts.jpg"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const golden *g = find(names[i]);
        for (size_t n = 3; n < g->n_bytes; n++) {
            uint8_t *bytes = copy_of(g->bytes, n);
            sd_image image;
            sd_error_clear();
            sd_status status = sd_image_decode(g->name, bytes, n, &image);
            if (status == SD_OK && n >= g->n_bytes - 2)
                expect_same_bits(g->name, image.rgb, g->rgb, (size_t)(g->width * g->height * RGB));
            else
                expect(status == SD_ERR_DATA && strstr(sd_error_message(), "is cut short"),
                       "%s: %zu of %zu bytes: status %d, '%s'", g->name, n, g->n_bytes, (int)status,
                       sd_error_message());
            free(image.rgb);
            free(bytes);
        }
    }
}
END_TEST

/* Only IEND, the last 12 bytes, may be missing. */
START_TEST(a_png_that_is_cut_within_its_pixels_is_refused) {
    static const char *const names[] = {"rgb-8.png", "palette-4.png", "interlaced-rgb.png", "pieces.png", "extras.png"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const golden *g = find(names[i]);
        for (size_t n = 8; n < g->n_bytes; n++) {
            uint8_t *bytes = copy_of(g->bytes, n);
            if (n >= g->n_bytes - 12)
                expect_pixels(g->name, bytes, n, g);
            else
                expect_no_image(bytes, n, NULL);
            free(bytes);
        }
    }
}
END_TEST

/* Each byte of the header and the pixels is covered by a CRC, so no change of one bit goes unnoticed there; elsewhere
 * it may, and then pixels are right. */
START_TEST(a_png_with_a_changed_bit_is_refused_or_the_same) {
    static const char *const names[] = {"palette-4.png", "interlaced-gray-16.png", "extras.png"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const golden *g = find(names[i]);
        uint8_t *bytes = copy_of(g->bytes, g->n_bytes);
        int refused = 0;
        for (size_t bit = 0; bit < 8 * g->n_bytes; bit++) {
            sd_image image;
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            sd_status status = sd_image_decode(g->name, bytes, g->n_bytes, &image);
            expect(status == SD_OK || status == SD_ERR_DATA, "%s: bit %zu: status %d", g->name, bit, (int)status);
            if (status == SD_OK)
                expect_same_bits(g->name, image.rgb, g->rgb, (size_t)(g->width * g->height * RGB));
            else
                refused++;
            free(image.rgb);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        expect(refused >= 8 * 33, "%s: %d changes noticed", g->name, refused);
        free(bytes);
    }
}
END_TEST

START_TEST(a_png_with_a_wrong_crc_is_refused) {
    const golden *g = find("rgb-8.png");
    uint8_t *bytes = copy_of(g->bytes, g->n_bytes);
    bytes[g->n_bytes - 13] ^= 1; /* of IDAT */
    expect_no_image(bytes, g->n_bytes, "checksum", NULL);
    bytes[g->n_bytes - 13] ^= 1;
    bytes[29] ^= 1; /* of IHDR */
    expect_no_image(bytes, g->n_bytes, "checksum", NULL);
    free(bytes);
}
END_TEST

START_TEST(damaged_pngs_are_refused_with_the_reason) {
    expect_no_image_in("bad-depth.png", "bit depth", NULL);
    expect_no_image_in("bad-no-palette.png", "PLTE", NULL);
    expect_no_image_in("bad-few-rows.png", "too short", NULL);
    expect_no_image_in("bad-filter.png", "filter", NULL);
    expect_no_image_in("bad-critical.png", "critical", NULL);
    expect_no_image_in("bad-long-text.png", "is cut short", NULL);
}
END_TEST

/* As Pillow: where the data of a scan end early, libjpeg warns and goes on with gray. */
START_TEST(a_damaged_jpeg_is_decoded_as_far_as_it_goes) {
    const golden *g = find("420.jpg");
    uint8_t *bytes = copy_of(g->bytes, g->n_bytes);
    const size_t n = g->n_bytes - 30;
    bytes[n - 2] = 0xff;
    bytes[n - 1] = 0xd9;
    sd_image image;
    expect_ok(sd_image_decode(g->name, bytes, n, &image));
    ck_assert(image.width == g->width && image.height == g->height);
    expect_same_bits("the first block", image.rgb, g->rgb, 8 * RGB);
    ck_assert(memcmp(image.rgb, g->rgb, (size_t)(g->width * g->height * RGB)) != 0);
    free(image.rgb);
    free(bytes);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("decode");
    tcase_add_checked_fixture(cases, load_goldens, NULL);
    tcase_add_test(cases, pixels_are_those_of_pillow);
    tcase_add_test(cases, pixels_do_not_depend_on_the_instruction_set);
    tcase_add_test(cases, threads_decode_at_once);
    tcase_add_test(cases, a_wide_image_is_no_bomb);
    tcase_add_test(cases, what_follows_an_image_is_not_looked_at);
    tcase_add_test(cases, other_content_is_refused_and_named);
    tcase_add_test(cases, headers_that_ask_for_too_much_are_refused);
    tcase_add_test(cases, lengths_in_files_take_no_memory);
    tcase_add_test(cases, jpeg_frames_that_cannot_be_are_refused);
    tcase_add_test(cases, a_jpeg_of_many_scans_is_refused);
    tcase_add_test(cases, a_jpeg_that_is_cut_anywhere_is_refused);
    tcase_add_test(cases, a_png_that_is_cut_within_its_pixels_is_refused);
    tcase_add_test(cases, a_png_with_a_changed_bit_is_refused_or_the_same);
    tcase_add_test(cases, a_png_with_a_wrong_crc_is_refused);
    tcase_add_test(cases, damaged_pngs_are_refused_with_the_reason);
    tcase_add_test(cases, a_damaged_jpeg_is_decoded_as_far_as_it_goes);
    return run_suite("decode", cases);
}
