/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: where images come from, before any split. */
#ifndef SDTRAIN_DATA_SOURCE_H
#define SDTRAIN_DATA_SOURCE_H

#include "sdtrain/data.h"

typedef struct sd_source sd_source;
struct sd_source {
    sd_sample_spec samples;
    uint32_t n_train, n_test;
    size_t bytes;                  /* held in memory */
    uint64_t hash;                 /* of every image and label; procedural images: of what they are made from */
    const float *mean, *deviation; /* NULL: to be measured on the training images */
    /* Sets the sample to image index of the training or test part (sd_sample_resize() makes room for it). Images may
     * differ in size. A source may decode now, and fail: with what is wrong with which file. Many threads read at
     * once, each into a sample of its own; what a source keeps is not written to. */
    sd_status (*read)(const sd_source *source, bool test, uint32_t index, sd_sample *sample);
    void (*close)(sd_source *source);
};

/* Makes the sample one of h x w pixels, with room for them; what they were is lost. SD_ERR_MEMORY. */
sd_status sd_sample_resize(sd_sample *sample, int h, int w);

/* A kind of source. To add one: a file, a row in source.c, and its word among the choices of data.dataset. */
typedef struct sd_source_kind {
    /* What its samples are like, without opening its files. */
    sd_sample_spec (*describe)(const sd_data_spec *spec);
    /* SD_ERR_NOINPUT, SD_ERR_DATA (file and record), SD_ERR_CONFIG (a request that it cannot meet), SD_ERR_MEMORY. */
    sd_status (*open)(const sd_data_spec *spec, sd_source **source);
} sd_source_kind;

extern const sd_source_kind sd_synthetic_source, sd_cifar10_source, sd_cifar100_source;

/* That of data.dataset. */
const sd_source_kind *sd_source_kind_of(const sd_data_spec *spec);

#endif
