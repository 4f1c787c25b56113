/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures of golden/make_resize.py, and the digest that it took of results. */
#ifndef SDTRAIN_TESTS_PICTURE_H
#define SDTRAIN_TESTS_PICTURE_H

#include "../../src/data/view.h"
#include "../support.h"

static inline sd_image new_picture(int width, int height, bool edges) {
    const size_t bytes = (size_t)width * (size_t)height * SD_CHANNELS;
    const sd_image image = {width, height, malloc(bytes)};
    expect(image.rgb != NULL, "no memory for %d x %d pixels", width, height);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t x = (uint32_t)i * 2654435761u + 12345;
        x ^= x >> 16;
        x *= 2246822519u;
        x ^= x >> 13;
        image.rgb[i] = edges ? (uint8_t)((x >> 31) * 255) : (uint8_t)(x >> 24);
    }
    return image;
}

/* zlib's. */
static inline uint32_t crc32_of(const uint8_t *bytes, size_t n) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

#endif
