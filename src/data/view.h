/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: rectangles of pictures, and their pixels where they lie. */
#ifndef SDTRAIN_DATA_VIEW_H
#define SDTRAIN_DATA_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "image.h"
#include "sdtrain/data.h"

/* In pixels; left and top may be negative where that is said. */
typedef struct sd_rect {
    int left, top, width, height;
} sd_rect;

/* Pixels to be read, which belong to someone else. Row y begins at rgb + y * row_bytes. */
typedef struct sd_view {
    const uint8_t *rgb;
    int width, height;
    size_t row_bytes;
} sd_view;

static inline sd_view sd_view_image(const sd_image *image) {
    return (sd_view){image->rgb, image->width, image->height, (size_t)image->width * SD_CHANNELS};
}

static inline const uint8_t *sd_view_at(const sd_view *view, int x, int y) {
    return view->rgb + (size_t)y * view->row_bytes + (size_t)x * SD_CHANNELS;
}

/* A crop that lies within the view, without copying it. */
static inline sd_view sd_view_part(const sd_view *view, sd_rect part) {
    return (sd_view){sd_view_at(view, part.left, part.top), part.width, part.height, view->row_bytes};
}

#endif
