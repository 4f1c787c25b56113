/* SPDX-License-Identifier: Apache-2.0 */
/* data/crop against torchvision and timm (golden/make_resize.py). */
#include "../../src/data/crop.h"
#include "../golden/crop_goldens.h"
#include "picture.h"

#define COUNT(table) (sizeof table / sizeof table[0])

/* ---- sizes and places ---- */

START_TEST(the_longer_side_is_cut_to_a_whole_number) {
    for (size_t i = 0; i < COUNT(side_goldens); i++) {
        const struct side_golden *golden = &side_goldens[i];
        int width, height;
        expect_ok(sd_shorter_side_size(golden->width, golden->height, golden->shorter, &width, &height));
        expect(width == golden->to_width && height == golden->to_height, "%d x %d at %d: %d x %d", golden->width,
               golden->height, golden->shorter, width, height);
    }
}
END_TEST

START_TEST(a_side_that_no_int_holds_is_refused) {
    int width, height;
    expect_refused(sd_shorter_side_size(1 << 24, 1, 256, &width, &height), SD_ERR_DATA, "1 x 16777216", "256", NULL);
    expect_ok(sd_shorter_side_size(1, 1 << 24, 127, &width, &height));
    ck_assert(width == 127 && height == 127 << 24);
}
END_TEST

START_TEST(the_shorter_side_follows_from_crop_pct_as_in_timm) {
    for (size_t i = 0; i < COUNT(percentage_goldens); i++) {
        const struct percentage_golden *golden = &percentage_goldens[i];
        ck_assert_int_eq(sd_crop_pct_size(golden->size, golden->crop_pct), golden->shorter);
    }
    ck_assert_int_eq(sd_crop_pct_size(INT32_MAX, 0.5), INT32_MAX);
}
END_TEST

START_TEST(a_central_crop_begins_where_torchvisions_does) {
    for (size_t i = 0; i < COUNT(offset_goldens); i++) {
        const struct offset_golden *golden = &offset_goldens[i];
        const int offset = sd_center_crop_offset(golden->length, golden->crop);
        expect(offset == golden->offset, "%d of %d begins at %d, not %d", golden->crop, golden->length, offset,
               golden->offset);
    }
}
END_TEST

/* ---- random crops ---- */

START_TEST(random_crops_are_torchvisions_and_timms) {
    for (size_t i = 0; i < COUNT(draw_goldens); i++) {
        const struct draw_golden *golden = &draw_goldens[i];
        sd_draws draws = {DRAW_SEED, SD_STREAM_AUGMENT, (uint32_t)golden->sample, DRAW_EPOCH, 0, {{0}}};
        const sd_rect crop = sd_random_crop_draw(&draw_laws[golden->law], golden->width, golden->height, &draws);
        expect(!memcmp(&crop, &golden->crop, sizeof crop), "sample %d of %d x %d pixels: %d x %d at %d, %d",
               golden->sample, golden->width, golden->height, crop.width, crop.height, crop.left, crop.top);
        ck_assert_uint_eq(draws.next, (uint32_t)golden->words);
    }
}
END_TEST

/* Hostile sizes and laws too: at least a pixel, within the picture. */
START_TEST(a_random_crop_lies_within_the_picture) {
    const int lengths[] = {1, 2, 3, 10, 1000, SD_RESAMPLE_MAX};
    const sd_random_crop laws[] = {{{0.08, 1}, {0.75, 4.0 / 3}},
                                   {{1, 1}, {1, 1}},
                                   {{1e-9, 1e-8}, {0.5, 2}},
                                   {{0.5, 1}, {3, 4}},
                                   {{0.5, 1}, {0.01, 0.02}}};
    for (size_t law = 0; law < COUNT(laws); law++)
        for (size_t w = 0; w < COUNT(lengths); w++)
            for (size_t h = 0; h < COUNT(lengths); h++)
                for (uint32_t sample = 0; sample < 50; sample++) {
                    sd_draws draws = {SUPPORT_SEED, SD_STREAM_AUGMENT, sample, 1, 0, {{0}}};
                    const sd_rect crop = sd_random_crop_draw(&laws[law], lengths[w], lengths[h], &draws);
                    expect(crop.left >= 0 && crop.top >= 0 && crop.width >= 1 && crop.height >= 1 &&
                               crop.left + crop.width <= lengths[w] && crop.top + crop.height <= lengths[h],
                           "law %zu, %d x %d: %d x %d at %d, %d", law, lengths[w], lengths[h], crop.width, crop.height,
                           crop.left, crop.top);
                }
}
END_TEST

/* ---- pixels ---- */

START_TEST(resized_crops_and_their_mirrors_are_torchvisions) {
    sd_resizer resizer = {0};
    for (size_t i = 0; i < COUNT(crop_goldens); i++)
        for (int filter = SD_FILTER_BILINEAR; filter <= SD_FILTER_BICUBIC; filter++) {
            const struct crop_golden *golden = &crop_goldens[i];
            const sd_image image = new_picture(golden->width, golden->height, false);
            const sd_view view = sd_view_image(&image);
            const size_t bytes = (size_t)(golden->size * golden->size * SD_CHANNELS);
            uint8_t *to = malloc(bytes);
            expect_ok(sd_resized_crop(&view, golden->crop, (sd_filter)filter, golden->size, to, &resizer));
            ck_assert_uint_eq(crc32_of(to, bytes), golden->crc[filter]);
            sd_flip_horizontal(to, golden->size, golden->size);
            ck_assert_uint_eq(crc32_of(to, bytes), golden->flipped[filter]);
            free(to);
            free(image.rgb);
        }
    sd_resizer_free(&resizer);
}
END_TEST

START_TEST(resized_centres_are_torchvisions) {
    sd_resizer resizer = {0};
    for (size_t i = 0; i < COUNT(center_goldens); i++)
        for (int filter = SD_FILTER_BILINEAR; filter <= SD_FILTER_BICUBIC; filter++) {
            const struct center_golden *golden = &center_goldens[i];
            const sd_image image = new_picture(golden->width, golden->height, false);
            const sd_view view = sd_view_image(&image);
            const size_t bytes = (size_t)(golden->size * golden->size * SD_CHANNELS);
            uint8_t *to = malloc(bytes);
            memset(to, 0xa5, bytes);
            expect_ok(sd_resized_center(&view, golden->shorter, (sd_filter)filter, golden->size, to, &resizer));
            const uint32_t crc = crc32_of(to, bytes);
            expect(crc == golden->crc[filter], "%d x %d, %d, %d: CRC %08x", golden->width, golden->height,
                   golden->shorter, golden->size, crc);
            free(to);
            free(image.rgb);
        }
    sd_resizer_free(&resizer);
}
END_TEST

START_TEST(a_picture_too_long_to_be_resized_is_refused) {
    enum { SIZE = 8 };
    const sd_image image = new_picture(1, 1 << 24, false);
    const sd_view view = sd_view_image(&image);
    uint8_t to[SIZE * SIZE * SD_CHANNELS];
    sd_resizer resizer = {0};
    expect_refused(sd_resized_center(&view, 256, SD_FILTER_BILINEAR, SIZE, to, &resizer), SD_ERR_DATA, "16777216 x 1",
                   NULL);
    expect_ok(sd_resized_center(&view, SIZE, SD_FILTER_BILINEAR, SIZE, to, &resizer)); /* costs what its centre costs */
    expect(resizer.capacity_bytes < 10000, "%zu bytes are held", resizer.capacity_bytes);
    sd_resizer_free(&resizer);
    free(image.rgb);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("crop");
    tcase_add_test(cases, the_longer_side_is_cut_to_a_whole_number);
    tcase_add_test(cases, a_side_that_no_int_holds_is_refused);
    tcase_add_test(cases, the_shorter_side_follows_from_crop_pct_as_in_timm);
    tcase_add_test(cases, a_central_crop_begins_where_torchvisions_does);
    tcase_add_test(cases, random_crops_are_torchvisions_and_timms);
    tcase_add_test(cases, a_random_crop_lies_within_the_picture);
    tcase_add_test(cases, resized_crops_and_their_mirrors_are_torchvisions);
    tcase_add_test(cases, resized_centres_are_torchvisions);
    tcase_add_test(cases, a_picture_too_long_to_be_resized_is_refused);
    return run_suite("crop", cases);
}
