/* SPDX-License-Identifier: Apache-2.0 */
/* base/resample and data/resize against Pillow and PyTorch (golden/make_resize.py). */
#include "../../src/data/resize.h"
#include "../golden/resize_goldens.h"
#include "picture.h"

#define COUNT(table) (sizeof table / sizeof table[0])

static sd_resample_spec spec_of(sd_filter filter, int in, int out) {
    return (sd_resample_spec){filter, in, 0, (float)in, out, 0, out};
}

/* ---- weights ---- */

START_TEST(halving_takes_the_weights_of_a_wider_triangle) {
    sd_resample resample = {0};
    const sd_resample_spec spec = spec_of(SD_FILTER_BILINEAR, 8, 4);
    expect_ok(sd_resample_make(&resample, &spec));
    ck_assert(resample.count == 4 && resample.begin[1] == 1 && resample.inputs[1] == 4);
    const double middle[] = {1.0 / 8, 3.0 / 8, 3.0 / 8, 1.0 / 8};
    for (int i = 0; i < 4; i++)
        ck_assert(resample.weight[resample.taps + i] == middle[i]);
    ck_assert(resample.begin[0] == 0 && resample.inputs[0] == 3); /* cut at the border, and normalised */
    for (int i = 0; i < 3; i++)
        expect_number("a weight at the border", resample.weight[i], (i < 2 ? 3 : 1) / 7.0, 1e-15);
    sd_resample_free(&resample);
}
END_TEST

START_TEST(weights_sum_to_one_and_their_inputs_move_on) {
    sd_resample resample = {0};
    for (int filter = SD_FILTER_BILINEAR; filter <= SD_FILTER_BICUBIC; filter++)
        for (int in = 1; in < 40; in++)
            for (int out = 1; out < 40; out++) {
                const sd_resample_spec spec = spec_of((sd_filter)filter, in, out);
                expect_ok(sd_resample_make(&resample, &spec));
                for (int x = 0; x < out; x++) {
                    const double *weight = resample.weight + x * resample.taps;
                    const int begin = resample.begin[x], inputs = resample.inputs[x];
                    double sum = 0;
                    expect(begin >= 0 && inputs >= 1 && inputs <= resample.taps && begin + inputs <= in,
                           "%d -> %d, output %d: %d inputs from %d on", in, out, x, inputs, begin);
                    expect(!x || (begin >= resample.begin[x - 1] &&
                                  begin + inputs >= resample.begin[x - 1] + resample.inputs[x - 1]),
                           "%d -> %d: output %d goes back", in, out, x);
                    for (int i = 0; i < resample.taps; i++) {
                        expect(fabs(weight[i] * 0x1p22 - resample.fixed[x * resample.taps + i]) <= 0.5,
                               "%d -> %d: weight %d of output %d is %g, %d", in, out, i, x, weight[i],
                               resample.fixed[x * resample.taps + i]);
                        expect(i < inputs || weight[i] == 0, "%d -> %d: a weight behind output %d's", in, out, x);
                        sum += weight[i];
                    }
                    expect_number("the sum of weights", sum, 1, 1e-14);
                }
            }
    sd_resample_free(&resample);
}
END_TEST

START_TEST(some_outputs_have_the_weights_that_they_have_among_all) {
    sd_resample all = {0}, some = {0};
    sd_resample_spec spec = {SD_FILTER_BICUBIC, 50, 3.25f, 47.5f, 21, 0, 21};
    expect_ok(sd_resample_make(&all, &spec));
    spec.first = 4;
    spec.count = 9;
    expect_ok(sd_resample_make(&some, &spec));
    ck_assert_int_eq(some.taps, all.taps);
    ck_assert_mem_eq(some.begin, all.begin + 4, 9 * sizeof *all.begin);
    ck_assert_mem_eq(some.weight, all.weight + 4 * all.taps, (size_t)(9 * all.taps) * sizeof *all.weight);
    sd_resample_free(&all);
    sd_resample_free(&some);
}
END_TEST

START_TEST(rows_that_cannot_be_resampled_are_refused) {
    static const sd_resample_spec bad[] = {
        {SD_FILTER_BILINEAR, 0, 0, 0, 4, 0, 4},
        {SD_FILTER_BILINEAR, -3, 0, 1, 4, 0, 4},
        {SD_FILTER_BILINEAR, INT32_MAX, 0, 9, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, -0.5f, 8, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 3, 3, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 5, 3, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 0, 8.5f, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, NAN, 8, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 0, NAN, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 0, INFINITY, 4, 0, 4},
        {SD_FILTER_BILINEAR, 8, 0, 8, 0, 0, 0},
        {SD_FILTER_BILINEAR, 8, 0, 8, 4, -1, 2},
        {SD_FILTER_BILINEAR, 8, 0, 8, 4, 3, 2},
        {SD_FILTER_BILINEAR, 8, 0, 8, 4, 0, 5},
        {SD_FILTER_BILINEAR, 8, 0, 8, 4, INT32_MAX, 2},
        {SD_FILTER_BILINEAR, 8, 0, 8, -4, 0, 2},
        {SD_FILTER_BILINEAR, 8, 0, 8, INT32_MAX, 0, 1 << 25},
    };
    sd_resample resample = {0};
    for (size_t i = 0; i < COUNT(bad); i++) {
        sd_error_clear();
        expect(sd_resample_make(&resample, &bad[i]) == SD_ERR_DATA && *sd_error_message(), "case %zu passes", i);
    }
    const sd_resample_spec interval = {SD_FILTER_BILINEAR, 8, 0, 8.5f, 4, 0, 4};
    expect_refused(sd_resample_make(&resample, &interval), SD_ERR_DATA, "0 to 8.5", "8 samples", NULL);
    const sd_resample_spec good = spec_of(SD_FILTER_BILINEAR, 8, INT32_MAX);
    expect_ok(sd_resample_make(&resample, &(sd_resample_spec){good.filter, 8, 0, 8, good.out, INT32_MAX - 1, 1}));
    ck_assert_int_eq(resample.begin[0], 7);
    sd_resample_free(&resample);
}
END_TEST

/* ---- grids of floats ---- */

/* PyTorch makes weights in float: centres are up to 14 * 2^-24 of a pixel off, a weight's slope is at most 1.5 a pixel,
 * and values up to 1 have a handful of weights in each direction. In float64 it differs from ours by 4e-7 only. */
START_TEST(position_embeddings_are_resampled_as_timm_does) {
    sd_resample resample = {0};
    for (size_t i = 0; i < COUNT(embedding_goldens); i++) {
        const struct embedding_golden *golden = &embedding_goldens[i];
        const int from = golden->from, to = golden->to, channels = 2;
        const sd_image bytes = new_picture(from * from, channels, false);
        float *x = new_floats((size_t)(from * from * channels)), *between = new_floats((size_t)(from * to * channels)),
              *y = new_floats((size_t)(to * to * channels));
        for (int n = 0; n < from * from * channels; n++)
            x[n] = (float)bytes.rgb[n] / 128 - 1;
        const sd_resample_spec spec = spec_of(SD_FILTER_BICUBIC, from, to);
        expect_ok(sd_resample_make(&resample, &spec));
        for (int row = 0; row < from; row++)
            sd_resample_floats(&resample, x + row * from * channels, channels, between + row * to * channels);
        sd_resample_floats(&resample, between, (size_t)(to * channels), y);
        for (int n = 0; n < to * to * channels; n++)
            expect_number("a value", y[n], golden->values[n], 4e-6);
        free(x);
        free(between);
        free(y);
        free(bytes.rgb);
    }
    sd_resample_free(&resample);
}
END_TEST

/* ---- pictures ---- */

static uint8_t *new_resized(const sd_view *from, const sd_resize_spec *spec, sd_resizer *resizer) {
    const size_t row_bytes = (size_t)spec->part.width * SD_CHANNELS;
    uint8_t *to = malloc(row_bytes * (size_t)spec->part.height);
    expect_ok(sd_resize(from, spec, to, row_bytes, resizer));
    return to;
}

START_TEST(pictures_are_pillows_byte_for_byte) {
    sd_resizer resizer = {0}; /* one for all: each leaves its memory to the next */
    for (size_t i = 0; i < COUNT(resize_goldens); i++)
        for (int edges = 0; edges < 2; edges++)
            for (int filter = SD_FILTER_BILINEAR; filter <= SD_FILTER_BICUBIC; filter++) {
                const struct resize_golden *golden = &resize_goldens[i];
                const sd_image image = new_picture(golden->width, golden->height, edges);
                const sd_view view = sd_view_image(&image);
                sd_resize_spec spec = sd_resize_whole(&view, (sd_filter)filter, golden->to_width, golden->to_height);
                spec.left = golden->box[0];
                spec.top = golden->box[1];
                spec.right = golden->box[2];
                spec.bottom = golden->box[3];
                uint8_t *to = new_resized(&view, &spec, &resizer);
                const uint32_t crc = crc32_of(to, (size_t)(spec.width * spec.height * SD_CHANNELS));
                expect(crc == golden->crc[edges][filter], "golden %zu, %d x %d -> %d x %d, edges %d, %s: CRC %08x", i,
                       golden->width, golden->height, spec.width, spec.height, edges, sd_filter_word((sd_filter)filter),
                       crc);
                free(to);
                free(image.rgb);
            }
    sd_resizer_free(&resizer);
}
END_TEST

/* Of results that come about in all ways: both passes in both orders, one pass, none. */
START_TEST(a_part_has_the_bytes_that_it_has_in_the_whole) {
    const int sizes[][2] = {{20, 30}, {70, 9}, {70, 20}, {20, 50}, {70, 50}, {100, 90}};
    const sd_rect parts[] = {{0, 0, 20, 9}, {3, 2, 11, 5}, {19, 8, 1, 1}};
    const sd_image image = new_picture(70, 50, false);
    const sd_view view = sd_view_image(&image);
    sd_resizer resizer = {0};
    for (size_t size = 0; size < COUNT(sizes); size++)
        for (size_t p = 0; p < COUNT(parts); p++) {
            sd_resize_spec spec = sd_resize_whole(&view, SD_FILTER_BICUBIC, sizes[size][0], sizes[size][1]);
            uint8_t *whole = new_resized(&view, &spec, &resizer);
            spec.part = parts[p];
            uint8_t *part = new_resized(&view, &spec, &resizer);
            for (int y = 0; y < spec.part.height; y++)
                expect_same_bits("a row", part + (size_t)(y * spec.part.width * SD_CHANNELS),
                                 whole + ((spec.part.top + y) * spec.width + spec.part.left) * SD_CHANNELS,
                                 (size_t)(spec.part.width * SD_CHANNELS));
            free(whole);
            free(part);
        }
    sd_resizer_free(&resizer);
    free(image.rgb);
}
END_TEST

START_TEST(what_is_between_the_rows_of_a_result_is_left_alone) {
    enum { WIDTH = 5, HEIGHT = 4, ROW_BYTES = WIDTH * SD_CHANNELS + 7 };
    const int sizes[][2] = {{9, 8}, {WIDTH, 8}, {9, HEIGHT}, {WIDTH, HEIGHT}, {6, 40}}; /* of the picture */
    sd_resizer resizer = {0};
    for (size_t size = 0; size < COUNT(sizes); size++) {
        const sd_image image = new_picture(sizes[size][0], sizes[size][1], false);
        const sd_view view = sd_view_image(&image);
        const sd_resize_spec spec = sd_resize_whole(&view, SD_FILTER_BILINEAR, WIDTH, HEIGHT);
        uint8_t to[HEIGHT * ROW_BYTES], *dense = new_resized(&view, &spec, &resizer);
        memset(to, 0xa5, sizeof to);
        expect_ok(sd_resize(&view, &spec, to, ROW_BYTES, &resizer));
        for (int y = 0; y < HEIGHT; y++)
            for (int i = 0; i < ROW_BYTES; i++)
                expect(to[y * ROW_BYTES + i] == (i < WIDTH * SD_CHANNELS ? dense[y * WIDTH * SD_CHANNELS + i] : 0xa5),
                       "size %zu, row %d, byte %d", size, y, i);
        free(dense);
        free(image.rgb);
    }
    sd_resizer_free(&resizer);
}
END_TEST

/* Rounded weights may miss 2^22 by half of one each, and 255 of these are far from half a grey level. */
START_TEST(a_picture_of_one_colour_keeps_it) {
    const int lengths[] = {1, 2, 3, 7, 64, 500};
    sd_resizer resizer = {0};
    for (int grey = 0; grey < 256; grey += 51)
        for (size_t from = 0; from < COUNT(lengths); from++)
            for (size_t to = 0; to < COUNT(lengths); to++) {
                sd_image image = new_picture(lengths[from], lengths[to], false);
                const sd_view view = sd_view_image(&image);
                memset(image.rgb, grey, (size_t)(image.width * image.height * SD_CHANNELS));
                const sd_resize_spec spec = sd_resize_whole(&view, SD_FILTER_BICUBIC, lengths[to], lengths[from]);
                uint8_t *resized = new_resized(&view, &spec, &resizer);
                for (int i = 0; i < spec.width * spec.height * SD_CHANNELS; i++)
                    expect(resized[i] == grey, "%d x %d: byte %d is %d, not %d", image.width, image.height, i,
                           resized[i], grey);
                free(resized);
                free(image.rgb);
            }
    sd_resizer_free(&resizer);
}
END_TEST

START_TEST(a_resize_that_cannot_be_is_refused_and_writes_nothing) {
    const sd_image image = new_picture(6, 5, false);
    const sd_view view = sd_view_image(&image);
    const sd_resize_spec good = sd_resize_whole(&view, SD_FILTER_BILINEAR, 4, 3);
    sd_resize_spec bad[7];
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = good;
    bad[0].right = 6.5f;
    bad[1].top = -1;
    bad[2].bottom = 0;
    bad[3].part.left = 1;
    bad[4].part.height = 0;
    bad[5].width = 3;
    bad[6].left = NAN;
    sd_resizer resizer = {0};
    uint8_t to[4 * 3 * SD_CHANNELS] = {0};
    for (size_t i = 0; i < COUNT(bad); i++)
        expect(sd_resize(&view, &bad[i], to, 4 * SD_CHANNELS, &resizer) == SD_ERR_DATA, "case %zu passes", i);
    for (size_t i = 0; i < sizeof to; i++)
        ck_assert_uint_eq(to[i], 0);
    expect_ok(sd_resize(&view, &good, to, 4 * SD_CHANNELS, &resizer));
    sd_resizer_free(&resizer);
    free(image.rgb);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("resize");
    tcase_add_test(cases, halving_takes_the_weights_of_a_wider_triangle);
    tcase_add_test(cases, weights_sum_to_one_and_their_inputs_move_on);
    tcase_add_test(cases, some_outputs_have_the_weights_that_they_have_among_all);
    tcase_add_test(cases, rows_that_cannot_be_resampled_are_refused);
    tcase_add_test(cases, position_embeddings_are_resampled_as_timm_does);
    tcase_add_test(cases, pictures_are_pillows_byte_for_byte);
    tcase_add_test(cases, a_part_has_the_bytes_that_it_has_in_the_whole);
    tcase_add_test(cases, what_is_between_the_rows_of_a_result_is_left_alone);
    tcase_add_test(cases, a_picture_of_one_colour_keeps_it);
    tcase_add_test(cases, a_resize_that_cannot_be_is_refused_and_writes_nothing);
    return run_suite("resize", cases);
}
