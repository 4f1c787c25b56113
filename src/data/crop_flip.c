/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"
#include "transform.h"

enum { PADDING = 4 };

static int draw_offset(sd_draws *draws) {
    return (int)sd_random_index(sd_draws_next(draws), 2 * PADDING + 1) - PADDING;
}

sd_status sd_transform_crop_flip(sd_workspace *work, int size, sd_draws *draws) {
    SD_TRY(sd_transform_check_size(&work->image, size));
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
