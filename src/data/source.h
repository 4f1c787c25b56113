/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: where images come from, before any split. */
#ifndef SDTRAIN_DATA_SOURCE_H
#define SDTRAIN_DATA_SOURCE_H

#include "sdtrain/data.h"

typedef struct sd_source sd_source;
struct sd_source {
    int classes, image_size;
    uint32_t n_train, n_test;
    size_t bytes;                  /* held in memory */
    uint64_t hash;                 /* of every image and label; procedural images: of what they are made from */
    const float *mean, *deviation; /* NULL: to be measured on the training images */
    /* Image index of the training or test part as [size, size, 3] bytes; returns its label. Thread-safe. */
    int32_t (*read)(const sd_source *source, bool test, uint32_t index, uint8_t *pixels);
    void (*close)(sd_source *source);
};

sd_status sd_cifar_open(const sd_config *config, sd_source **source);
sd_status sd_synthetic_open(const sd_config *config, sd_source **source);
void sd_cifar_describe(const sd_config *config, int *image_size, int *classes);
void sd_synthetic_describe(const sd_config *config, int *image_size, int *classes);

#endif
