/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: sources of images, before any split. */
#ifndef SDTRAIN_DATA_SOURCE_H
#define SDTRAIN_DATA_SOURCE_H

#include "image.h"
#include "sdtrain/data.h"

/* The ids of a text, without padding; the source's memory. */
typedef struct sd_text {
    const int32_t *ids; /* [length] */
    int32_t length;
    int32_t second; /* where a pair's second text begins; length: there is none */
    int32_t label;
} sd_text;

typedef struct sd_source sd_source;
struct sd_source {
    sd_sample_spec samples; /* image_size: of its own images; 0: they differ, or it has texts */
    uint32_t n_train, n_test;
    size_t bytes;                  /* held in memory */
    uint64_t hash;                 /* of every image and label; of procedural images: of their parameters */
    const float *mean, *deviation; /* NULL: measured on the training images in use */
    bool mean_is_of_all;           /* they are those of all n_train images; where fewer are in use: measured as well */
    /* Reads image index of the training or test part into the sample (sd_sample_resize() makes room). Images may differ
     * in size. May decode, and fail with file and reason. Threads read concurrently, each into its own sample; the
     * source is constant. */
    sd_status (*read)(const sd_source *source, bool test, uint32_t index, sd_sample *sample);
    /* Of texts, in place of read: a view of what a network reads of text index. */
    sd_text (*text)(const sd_source *source, bool test, uint32_t index);
    const char *vocabulary; /* of texts: content of vocab.txt */
    size_t vocabulary_bytes;
    bool lower_case;
    int32_t padding; /* of texts: the id behind them */
    void (*close)(sd_source *source);
    const char *hashed; /* what differs where hashes differ; NULL: pixels or labels */
    const char *(*class_name)(const sd_source *source, int label); /* NULL: classes have no names */
};

/* How every object that is found begins. The numbers spell LISTING1, PACKED-1 and TEXTS--1 where the low byte comes
 * first. */
#define SD_FOUND_LISTING UINT64_C(0x31474e495453494c)
#define SD_FOUND_PACKED UINT64_C(0x312d44454b434150)
#define SD_FOUND_TEXTS UINT64_C(0x312d2d5354584554)
struct sd_found {
    uint64_t format;
    uint64_t bytes; /* of all of it */
};

/* Sets the sample's size to h x w, and makes room; the pixels are undefined. SD_ERR_MEMORY. */
sd_status sd_sample_resize(sd_sample *sample, int h, int w);
/* Makes the pixels those of a decoded image, whose memory the sample takes over; leaves the label. */
void sd_sample_adopt(sd_sample *sample, const sd_image *image);

/* A kind of source. To add one: a file, a row in source.c, and its word among the choices of data.dataset. */
typedef struct sd_source_kind {
    /* Describes the samples without opening files. */
    sd_sample_spec (*describe)(const sd_data_spec *spec);
    /* SD_ERR_NOINPUT, SD_ERR_DATA (file and record), SD_ERR_CONFIG (an impossible request), SD_ERR_MEMORY. */
    sd_status (*open)(const sd_data_spec *spec, sd_source **source);
    /* As of sd_data_find(); NULL: there is nothing to find. */
    sd_status (*find)(const sd_data_spec *spec, sd_found **found);
} sd_source_kind;

extern const sd_source_kind sd_synthetic_source, sd_cifar10_source, sd_cifar100_source, sd_folder_source,
    sd_packed_source, sd_text_source, sd_synthetic_text_source;

/* The kind that data.dataset names. */
const sd_source_kind *sd_source_kind_of(const sd_data_spec *spec);

#endif
