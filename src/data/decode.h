/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: what decode.c and the decoders of the formats share. */
#ifndef SDTRAIN_DATA_DECODE_H
#define SDTRAIN_DATA_DECODE_H

#include "image.h"

/* A file in memory. */
typedef struct sd_encoded {
    const char *path;
    const uint8_t *bytes;
    size_t n_bytes;
} sd_encoded;

/* A format that is decoded; the functions are called with files that begin as it does. To add one: a file, and a row
 * in decode.c. */
typedef struct sd_image_format {
    sd_status (*size)(const sd_encoded *file, int *width, int *height);
    sd_status (*decode)(const sd_encoded *file, sd_image *image);
} sd_image_format;

extern const sd_image_format sd_jpeg_format, sd_png_format;

/* SD_ERR_DATA if a header's size is beyond the limits of image.h, or if the file has less than fewest_bytes, without
 * which no such image can be encoded in its format. */
sd_status sd_image_check_size(const sd_encoded *file, uint32_t width, uint32_t height, uint64_t fewest_bytes);

/* SD_ERR_DATA for a file that ends too early. */
sd_status sd_image_cut(const sd_encoded *file);

/* Memory for an image whose size has been checked. SD_ERR_MEMORY. */
sd_status sd_image_allocate(int width, int height, sd_image *image);

#endif
