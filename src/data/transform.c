/* SPDX-License-Identifier: Apache-2.0 */
#include "transform.h"

#include "crop.h"
#include "source.h"

enum { LARGE = 64 }; /* pixels: evaluation crops the centre of larger images only, as ImageNet's recipes do */
static const double LARGE_CROP_PCT = 0.875; /* 224 / 256 */

sd_geometry sd_geometry_of(const sd_data_spec *spec, int size) {
    const double crop_pct = spec->crop_pct > 0 ? spec->crop_pct : size > LARGE ? LARGE_CROP_PCT : 1;
    return (sd_geometry){
        .size = size, .filter = spec->interpolation, .center_source = sd_crop_pct_size(size, crop_pct)};
}

sd_transform sd_transform_of(sd_augment augment) {
    static const sd_transform transforms[] = {
        [SD_AUGMENT_NONE] = sd_transform_center,
        [SD_AUGMENT_CROP_FLIP] = sd_transform_crop_flip,
        [SD_AUGMENT_RESIZED_CROP] = sd_transform_resized_crop,
    };
    return transforms[augment];
}

static sd_view view_of(const sd_sample *sample) {
    return (sd_view){sample->pixels, sample->w, sample->h, (size_t)sample->w * SD_CHANNELS};
}

/* shorter: side of the resized image. */
static sd_status center(sd_workspace *work, const sd_geometry *geometry, int shorter) {
    const int size = geometry->size;
    const sd_view view = view_of(&work->image);
    sd_resizer *resizer;
    if (view.width == size && view.height == size && shorter == size)
        return SD_OK;
    SD_TRY(sd_workspace_resizer(work, &resizer));
    SD_TRY(sd_sample_resize(&work->spare, size, size));
    SD_TRY(sd_resized_center(&view, shorter, geometry->filter, size, work->spare.pixels, resizer));
    sd_workspace_swap(work);
    return SD_OK;
}

sd_status sd_transform_center(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws) {
    (void)draws;
    return center(work, geometry, geometry->center_source);
}

/* ---- crop_flip ---- */

enum { PADDING = 4 };

static int draw_offset(sd_draws *draws) {
    return (int)sd_random_index(sd_draws_next(draws), 2 * PADDING + 1) - PADDING;
}

sd_status sd_transform_crop_flip(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws) {
    const int size = geometry->size;
    SD_TRY(center(work, geometry, size));
    SD_TRY(sd_sample_resize(&work->spare, size, size));
    const int top = draw_offset(draws), left = draw_offset(draws);
    const bool flip = sd_draws_next(draws) & 1;
    uint8_t *to = work->spare.pixels;
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            const int h = i + top, w = (flip ? size - 1 - j : j) + left;
            const bool inside = h >= 0 && h < size && w >= 0 && w < size;
            const uint8_t *from = work->image.pixels + (inside ? (size_t)(h * size + w) * SD_CHANNELS : 0);
            for (int c = 0; c < SD_CHANNELS; c++)
                *to++ = inside ? from[c] : 0; /* the padding is black, as in torchvision's RandomCrop */
        }
    sd_workspace_swap(work);
    return SD_OK;
}

/* ---- resized_crop ---- */

static const sd_random_crop RANDOM_CROP = {.area = {0.08, 1}, .ratio = {3.0 / 4, 4.0 / 3}};

sd_status sd_transform_resized_crop(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws) {
    const int size = geometry->size;
    const sd_view view = view_of(&work->image);
    const sd_rect crop = sd_random_crop_draw(&RANDOM_CROP, view.width, view.height, draws);
    const bool flip = sd_draws_next(draws) & 1;
    sd_resizer *resizer;
    SD_TRY(sd_workspace_resizer(work, &resizer));
    SD_TRY(sd_sample_resize(&work->spare, size, size));
    SD_TRY(sd_resized_crop(&view, crop, geometry->filter, size, work->spare.pixels, resizer));
    if (flip)
        sd_flip_horizontal(work->spare.pixels, size, size);
    sd_workspace_swap(work);
    return SD_OK;
}
