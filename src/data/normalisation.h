/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: (pixel / 255 - mean) / deviation, channel by channel. */
#ifndef SDTRAIN_DATA_NORMALISATION_H
#define SDTRAIN_DATA_NORMALISATION_H

#include "source.h"

typedef struct sd_normalisation {
    float mean[SD_CHANNELS], deviation[SD_CHANNELS]; /* of pixels in 0..1 */
    float value[SD_CHANNELS][256];                   /* of each byte: (byte / 255 - mean) / deviation */
} sd_normalisation;

void sd_normalisation_set(sd_normalisation *normalisation, const float *mean, const float *deviation);

/* The mean and deviation that a text of sd_normalise_check() names, NULL as well. *measured: it names those of the data
 * set itself; mean and deviation are not set then. is_folder: for auto. SD_ERR_CONFIG. */
sd_status sd_normalise_parse(const char *text, bool is_folder, bool *measured, float *mean, float *deviation);

/* Sums over pixels. They are integers, so exact in any order. Begins as {0}. */
typedef struct sd_moments {
    uint64_t pixels, sum[SD_CHANNELS], square[SD_CHANNELS];
} sd_moments;
void sd_moments_add(sd_moments *moments, const sd_sample *image);
void sd_moments_merge(sd_moments *moments, const sd_moments *more);
/* Mean and standard deviation (of the population; 1 where all pixels are equal) of pixels in 0..1. There must be
 * pixels. */
void sd_moments_get(const sd_moments *moments, float *mean, float *deviation);

/* Measures n training images of a source, given by their indices. Reads all of them, with OpenMP's threads; with skip
 * leaves out those that cannot be decoded, else fails with the first of them. */
sd_status sd_normalisation_measure(sd_normalisation *normalisation, const sd_source *source, const uint32_t *indices,
                                   uint32_t n, sd_bad_image on_bad_image);

/* x: [image->h, image->w, SD_CHANNELS] f32. */
void sd_normalise(const sd_normalisation *normalisation, const sd_sample *image, float *x);

#endif
