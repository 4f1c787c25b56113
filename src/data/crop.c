/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -ffp-contract=off (CMakeLists.txt). */
#include "crop.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "sdtrain/exact.h"

enum { ATTEMPTS = 10 };

int sd_crop_pct_size(int size, double crop_pct) {
    const double larger = floor(size / crop_pct);
    return larger < 1 ? 1 : larger < INT_MAX ? (int)larger : INT_MAX;
}

/* Python divides in double; below 2^53 that never rounds up to the next whole number. */
sd_status sd_shorter_side_size(int width, int height, int shorter, int *to_width, int *to_height) {
    const bool is_upright = width <= height;
    const int64_t side = is_upright ? width : height, longer = (int64_t)shorter * (is_upright ? height : width) / side;
    if (longer > INT_MAX)
        return sd_fail(SD_ERR_DATA, "an image of %d x %d pixels is too long for a shorter side of %d", height, width,
                       shorter);
    *to_width = is_upright ? shorter : (int)longer;
    *to_height = is_upright ? (int)longer : shorter;
    return SD_OK;
}

int sd_center_crop_offset(int length, int crop) {
    if (crop > length)
        return -((crop - length) / 2);
    return (int)rint((length - crop) / 2.0);
}

static double uniform(sd_draws *draws, double low, double high) {
    return low + (high - low) * sd_random_uniform(sd_draws_next(draws));
}

static int place(sd_draws *draws, int length, int crop) {
    return (int)sd_random_index(sd_draws_next(draws), (uint64_t)(length - crop) + 1);
}

/* The largest central rectangle whose ratio is in range; at least a pixel. */
static sd_rect central_crop(const sd_random_crop *crop, int width, int height) {
    const double ratio = (double)width / height;
    sd_rect rect = {0, 0, width, height};
    if (ratio < crop->ratio[0])
        rect.height = (int)fmax(1, rint(width / crop->ratio[0]));
    else if (ratio > crop->ratio[1])
        rect.width = (int)fmax(1, rint(height * crop->ratio[1]));
    rect.left = (width - rect.width) / 2;
    rect.top = (height - rect.height) / 2;
    return rect;
}

sd_rect sd_random_crop_draw(const sd_random_crop *crop, int width, int height, sd_draws *draws) {
    const double low = sd_exact_log(crop->ratio[0]), high = sd_exact_log(crop->ratio[1]);
    const double pixels = (double)width * height;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        const double area = pixels * uniform(draws, crop->area[0], crop->area[1]);
        const double ratio = sd_exact_exp(uniform(draws, low, high));
        const double w = rint(sqrt(area * ratio)), h = rint(sqrt(area / ratio));
        if (w >= 1 && w <= width && h >= 1 && h <= height) {
            const int top = place(draws, height, (int)h), left = place(draws, width, (int)w);
            return (sd_rect){left, top, (int)w, (int)h};
        }
    }
    return central_crop(crop, width, height);
}

sd_status sd_resized_crop(const sd_view *from, sd_rect crop, sd_filter filter, int size, uint8_t *to,
                          sd_resizer *resizer) {
    const sd_view part = sd_view_part(from, crop);
    const sd_resize_spec spec = sd_resize_whole(&part, filter, size, size);
    return sd_resize(&part, &spec, to, (size_t)size * SD_CHANNELS, resizer);
}

sd_status sd_resized_center(const sd_view *from, int shorter, sd_filter filter, int size, uint8_t *to,
                            sd_resizer *resizer) {
    int width, height;
    SD_TRY(sd_shorter_side_size(from->width, from->height, shorter, &width, &height));
    const int left = sd_center_crop_offset(width, size), top = sd_center_crop_offset(height, size);
    const size_t row_bytes = (size_t)size * SD_CHANNELS;
    sd_resize_spec spec = sd_resize_whole(from, filter, width, height);
    spec.part =
        (sd_rect){left < 0 ? 0 : left, top < 0 ? 0 : top, size < width ? size : width, size < height ? size : height};
    if (size > width || size > height)
        memset(to, 0, row_bytes * (size_t)size);
    to += (top < 0 ? (size_t)-top : 0) * row_bytes + (left < 0 ? (size_t)-left : 0) * SD_CHANNELS;
    return sd_resize(from, &spec, to, row_bytes, resizer);
}

void sd_flip_horizontal(uint8_t *rgb, int width, int height) {
    for (int y = 0; y < height; y++, rgb += (size_t)width * SD_CHANNELS)
        for (int left = 0, right = width - 1; left < right; left++, right--)
            for (int c = 0; c < SD_CHANNELS; c++) {
                const uint8_t byte = rgb[left * SD_CHANNELS + c];
                rgb[left * SD_CHANNELS + c] = rgb[right * SD_CHANNELS + c];
                rgb[right * SD_CHANNELS + c] = byte;
            }
}
