/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: pictures of another size, byte for byte those of
 *     Image.resize((width, height), filter, box=(left, top, right, bottom))
 * of Pillow 13 for RGB (Resample.c, 8 bits a channel). Two passes, rounded to bytes in between: along rows, then along
 * columns; the other way round where the height loses more than twice as many pixels as the width (as Pillow does from
 * version 13 on; up to 12.1 always along rows first, from which bytes then differ by roundings). Integers from the
 * weights on, so the same on every host. */
#ifndef SDTRAIN_DATA_RESIZE_H
#define SDTRAIN_DATA_RESIZE_H

#include "sdtrain/resample.h"
#include "view.h"

typedef struct sd_resize_spec {
    sd_filter filter;
    float left, top, right, bottom; /* what becomes the whole result; the filter sees pixels beside it */
    int width, height;              /* of the whole result */
    sd_rect part;                   /* of it, that is computed: what a crop would keep */
} sd_resize_spec;

/* The whole picture as one of width x height. */
sd_resize_spec sd_resize_whole(const sd_view *from, sd_filter filter, int width, int height);

/* Memory that one resize leaves to the next. Begins as {0}. */
typedef struct sd_resizer sd_resizer;
struct sd_resizer {
    sd_resample horizontal, vertical;
    uint8_t *between; /* what the first pass gives to the second */
    size_t capacity_bytes;
};
void sd_resizer_free(sd_resizer *resizer);

/* to: row y of the part begins at to + y * to_row_bytes; must not overlap `from`. Costs time and memory for the part
 * only. SD_ERR_DATA if the box is empty or not within the picture, the part is empty or not within the result, or a
 * side of the picture or the part has more than SD_RESAMPLE_MAX pixels; SD_ERR_MEMORY. */
sd_status sd_resize(const sd_view *from, const sd_resize_spec *spec, uint8_t *to, size_t to_row_bytes,
                    sd_resizer *resizer);

#endif
