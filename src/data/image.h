/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: image files in memory, decoded to RGB bytes.
 *
 * Local. The bytes are those of Pillow's Image.open(file).convert("RGB"), what torchvision's ImageFolder loads:
 *
 *     JPEG             8 bits, baseline, extended, progressive, arithmetic: accurate integer DCT ("islow"), fancy
 *                      upsampling; CMYK and YCCK: values are inverted (Adobe's convention), then
 *                      R = K' - C K' / 255 with K' = 255 - K, rounded
 *     PNG              1 to 8 bits of gray are scaled to 0..255; 16 bits of colour, or of gray with alpha, lose the
 *                      lower byte; 16 bits of gray alone become min(v, 255), with a warning once
 *     both             gray is copied to R, G, B; alpha and tRNS are dropped, not blended; the orientation in EXIF,
 *                      gamma and colour profiles are ignored
 *
 * Also as Pillow, damage that libjpeg decodes with a warning is decoded, with a warning once (where scans of a
 * progressive JPEG are missing, versions of libjpeg-turbo smooth blocks in different ways); a PNG index beyond the
 * palette is black; what follows the image is not looked at, nor is the lack of an IEND chunk. Stricter than Pillow: a
 * CRC of a PNG's header, palette or pixels that does not fit, unknown critical chunks, and pixels that are not all
 * there, are errors.
 *
 * A file is known by its content; its name serves messages alone. Pure functions of the bytes; many threads may call
 * them at once.
 *
 * Errors: SD_ERR_DATA, with file and reason: another format (named, if it is a common one), damaged or cut, more than
 * SD_IMAGE_MOST_PIXELS or SD_IMAGE_MOST_SIDE; SD_ERR_MEMORY. Memory is asked for only once the header has passed these
 * limits and the file is large enough to hold that many pixels: 3 bytes a pixel, and while a progressive JPEG is
 * decoded up to 8 more. */
#ifndef SDTRAIN_DATA_IMAGE_H
#define SDTRAIN_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

enum {
    SD_IMAGE_MOST_PIXELS = 2 * 89478485, /* as Pillow, which takes more for a decompression bomb */
    SD_IMAGE_MOST_SIDE = 65500           /* what libjpeg takes; with it a row stays below 1 MB */
};

typedef struct sd_image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], rows from the top */
} sd_image;

/* Decodes bytes: [n_bytes], the whole file. Caller frees image->rgb, which is NULL on failure. path: for messages. */
sd_status sd_image_decode(const char *path, const uint8_t *bytes, size_t n_bytes, sd_image *image);

/* Width and height as the header has them, for the cost of reading that; errors as of sd_image_decode(), as far as the
 * header shows them. */
sd_status sd_image_size(const char *path, const uint8_t *bytes, size_t n_bytes, int *width, int *height);

#endif
