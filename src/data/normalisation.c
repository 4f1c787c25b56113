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

typedef struct measurement {
    const sd_source *source;
    const uint32_t *indices;
    uint32_t first_failed; /* of indices; their number: none has */
    sd_bad_image on_bad_image;
    sd_moments moments;
    sd_outcome outcome; /* of the first that failed, whichever thread came to it first */
} measurement;

static void measure_one(measurement *all, uint32_t i, sd_sample *image, sd_moments *mine) {
    uint32_t first_failed;
#pragma omp atomic read
    first_failed = all->first_failed;
    if (i > first_failed)
        return;
    const sd_status status = all->source->read(all->source, false, all->indices[i], image);
    if (status == SD_OK) {
        sd_moments_add(mine, image);
    } else if (status != SD_ERR_DATA || all->on_bad_image != SD_BAD_IMAGE_SKIP) {
#pragma omp critical(measurement)
        if (i < all->first_failed) {
#pragma omp atomic write
            all->first_failed = i;
            sd_outcome_keep(&all->outcome, status);
        }
    }
    sd_error_clear();
}

sd_status sd_normalisation_measure(sd_normalisation *normalisation, const sd_source *source, const uint32_t *indices,
                                   uint32_t n, sd_bad_image on_bad_image) {
    measurement all = {.source = source, .indices = indices, .first_failed = n, .on_bad_image = on_bad_image};
    float mean[SD_CHANNELS], deviation[SD_CHANNELS];
#pragma omp parallel
    {
        sd_moments mine = {0};
        sd_sample image = {0};
#pragma omp for schedule(dynamic, 16)
        for (uint32_t i = 0; i < n; i++)
            measure_one(&all, i, &image, &mine);
#pragma omp critical(measurement)
        sd_moments_merge(&all.moments, &mine);
        sd_sample_free(&image);
    }
    SD_TRY(sd_outcome_report(&all.outcome));
    if (all.moments.pixels == 0)
        return sd_fail(SD_ERR_DATA, "none of the %u training images can be decoded", n);
    sd_moments_get(&all.moments, mean, deviation);
    sd_normalisation_set(normalisation, mean, deviation);
    return SD_OK;
}
