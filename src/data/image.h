/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a decoded picture. */
#ifndef SDTRAIN_DATA_IMAGE_H
#define SDTRAIN_DATA_IMAGE_H

#include <stdint.h>

typedef struct sd_image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3] */
} sd_image;

#endif
