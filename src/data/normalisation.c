/* SPDX-License-Identifier: Apache-2.0 */
#include "normalisation.h"

#include <math.h>
#include <string.h>

void sd_normalisation_set(sd_normalisation *normalisation, const float *mean, const float *deviation) {
    memcpy(normalisation->mean, mean, sizeof normalisation->mean);
    memcpy(normalisation->deviation, deviation, sizeof normalisation->deviation);
    for (int c = 0; c < SD_CHANNELS; c++)
        for (int byte = 0; byte < 256; byte++)
            normalisation->value[c][byte] = ((float)byte / 255.0f - mean[c]) / deviation[c];
}

void sd_normalise(const sd_normalisation *normalisation, const sd_sample *image, float *x) {
    const uint8_t *byte = image->pixels;
    for (size_t pixels = (size_t)image->h * (size_t)image->w; pixels > 0; pixels--)
        for (int c = 0; c < SD_CHANNELS; c++)
            *x++ = normalisation->value[c][*byte++];
}

void sd_moments_add(sd_moments *m, const sd_sample *image) {
    const size_t pixels = (size_t)image->h * (size_t)image->w;
    uint64_t sum[SD_CHANNELS] = {0}, square[SD_CHANNELS] = {0};
    for (size_t i = 0; i < pixels * SD_CHANNELS; i++) {
        const uint64_t byte = image->pixels[i];
        sum[i % SD_CHANNELS] += byte;
        square[i % SD_CHANNELS] += byte * byte;
    }
    m->pixels += pixels;
    for (int c = 0; c < SD_CHANNELS; c++) {
        m->sum[c] += sum[c];
        m->square[c] += square[c];
    }
}

void sd_moments_merge(sd_moments *m, const sd_moments *more) {
    m->pixels += more->pixels;
    for (int c = 0; c < SD_CHANNELS; c++) {
        m->sum[c] += more->sum[c];
        m->square[c] += more->square[c];
    }
}

void sd_moments_get(const sd_moments *m, float *mean, float *deviation) {
    const double count = (double)m->pixels;
    for (int c = 0; c < SD_CHANNELS; c++) {
        const double first = (double)m->sum[c] / count, variance = (double)m->square[c] / count - first * first;
        mean[c] = (float)(first / 255);
        deviation[c] = variance > 0 ? (float)(sqrt(variance) / 255) : 1.0f;
    }
}

sd_status sd_normalisation_measure(sd_normalisation *normalisation, const sd_source *source, const uint32_t *indices,
                                   uint32_t n, sd_bad_image on_bad_image) {
    sd_moments m = {0};
    sd_sample image = {0};
    sd_status status = SD_OK;
    for (uint32_t i = 0; i < n && status == SD_OK; i++) {
        status = source->read(source, false, indices[i], &image);
        if (status == SD_OK) {
            sd_moments_add(&m, &image);
        } else if (status == SD_ERR_DATA && on_bad_image == SD_BAD_IMAGE_SKIP) {
            sd_error_clear();
            status = SD_OK;
        }
    }
    if (status == SD_OK && m.pixels == 0)
        status = sd_fail(SD_ERR_DATA, "none of the %u training images can be decoded", n);
    if (status == SD_OK) {
        float mean[SD_CHANNELS], deviation[SD_CHANNELS];
        sd_moments_get(&m, mean, deviation);
        sd_normalisation_set(normalisation, mean, deviation);
    }
    sd_sample_free(&image);
    return status;
}
