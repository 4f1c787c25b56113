/* SPDX-License-Identifier: Apache-2.0 */
/* Images: datasets, the order in which they are seen, augmentation, and the threads that prepare batches ahead.
 *
 *     source -> read, decode -> transform(seed, epoch, sample) -> normalise -> batch of input and targets
 *
 * Local. Which image comes when, and how it is cropped and flipped, are pure functions of (seed, epoch, sample):
 * nothing depends on the number of ranks or worker threads, or on where a run was resumed.
 */
#ifndef SDTRAIN_DATA_H
#define SDTRAIN_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/batch.h"
#include "sdtrain/choice.h"
#include "sdtrain/range.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SD_CHANNELS = 3 };

/* Kinds of data sets; each has a row in data/source.c. */
#define SD_DATASET_LIST(X)                                                                                             \
    X(SD_DATASET_SYNTHETIC, "synthetic") /* procedural coloured shapes */                                              \
    X(SD_DATASET_CIFAR10, "cifar10")                                                                                   \
    X(SD_DATASET_CIFAR100, "cifar100")
typedef enum sd_dataset_kind { SD_DATASET_LIST(SD_CHOICE_ENUMERATOR) } sd_dataset_kind;
SD_CHOICE_WORD_OF(sd_dataset_kind, SD_DATASET_LIST)

/* What is done to training images. */
#define SD_AUGMENT_LIST(X)                                                                                             \
    X(SD_AUGMENT_NONE, "none")                                                                                         \
    X(SD_AUGMENT_CROP_FLIP, "crop_flip") /* zero padding of 4, random crop, random horizontal flip */
typedef enum sd_augment { SD_AUGMENT_LIST(SD_CHOICE_ENUMERATOR) } sd_augment;
SD_CHOICE_WORD_OF(sd_augment, SD_AUGMENT_LIST)

/* What becomes of a last batch that is not full. */
#define SD_LAST_BATCH_LIST(X)                                                                                          \
    X(SD_LAST_BATCH_DROP, "drop")                                                                                      \
    X(SD_LAST_BATCH_KEEP, "keep")
typedef enum sd_last_batch { SD_LAST_BATCH_LIST(SD_CHOICE_ENUMERATOR) } sd_last_batch;
SD_CHOICE_WORD_OF(sd_last_batch, SD_LAST_BATCH_LIST)

/* Which data, and which part of them. 0 stands for what a data set has itself. */
typedef struct sd_data_spec {
    sd_dataset_kind kind;
    const char *path;   /* folder of its files, or its parent; the caller's */
    int64_t image_size; /* pixels */
    int64_t classes;
    int64_t train_samples, val_samples; /* the first N in file order */
    int64_t
        validation; /* so many images are held out of training, drawn by the seed, and validate; 0: the test set does */
    int64_t scored_samples; /* training images that are to be scored, for a warning if there are fewer */
    uint32_t seed;
} sd_data_spec;

typedef enum sd_split { SD_SPLIT_TRAIN, SD_SPLIT_VALIDATION } sd_split;

/* What the samples of a data set are like: all that a model must know of it. */
typedef struct sd_sample_spec {
    int image_size; /* height and width; SD_CHANNELS channels */
    int classes;
} sd_sample_spec;

/* Values of one sample as a network takes it. */
size_t sd_sample_elems(sd_sample_spec samples);

typedef struct sd_dataset sd_dataset;

/* Opens what spec names, checks its files (CIFAR: reads them whole), and splits off the validation images.
 * SD_ERR_NOINPUT, SD_ERR_DATA (file and record), SD_ERR_CONFIG (a request the dataset cannot meet; the message begins
 * with its key, "data.image_size: ..."), SD_ERR_MEMORY;
 * *dataset is NULL then. */
sd_status sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset);
/* After the loaders that read from it. */
void sd_dataset_close(sd_dataset **dataset);

/* What the samples that spec names are like, without opening its files. */
sd_sample_spec sd_dataset_describe(const sd_data_spec *spec);

sd_sample_spec sd_dataset_samples(const sd_dataset *dataset);
uint32_t sd_dataset_images(const sd_dataset *dataset, sd_split split);
size_t sd_dataset_bytes(const sd_dataset *dataset); /* of images held in memory */
/* A hash of all images and labels of its files, whichever of them are used: equal for copies of one data set,
 * wherever they lie. */
uint64_t sd_dataset_hash(const sd_dataset *dataset);

/* Per-channel mean and standard deviation of the training images, of pixels in 0..1: [SD_CHANNELS] each. Synthetic
 * images: 0.5 and 0.25 by definition. An evaluation replaces them by those of the checkpoint's training. */
const float *sd_dataset_mean(const sd_dataset *dataset);
const float *sd_dataset_deviation(const sd_dataset *dataset);
void sd_dataset_set_normalisation(sd_dataset *dataset, const float *mean, const float *deviation);

/* A sample as its source has it, and the memory that it lies in, which later reads use again. Begins as {0}. */
typedef struct sd_sample {
    int h, w;
    uint8_t *pixels; /* [h, w, SD_CHANNELS] NHWC */
    size_t capacity_bytes;
    int32_t label;
} sd_sample;
void sd_sample_free(sd_sample *sample);

/* What a thread prepares images in. Begins as {0}. */
typedef struct sd_workspace {
    sd_sample image; /* the one at hand: read, then transformed */
    sd_sample spare; /* for transforms that do not work in place */
} sd_workspace;
void sd_workspace_free(sd_workspace *work);

/* One image, at whatever size it has. Many threads may read at once. SD_ERR_MEMORY; SD_ERR_NOINPUT, SD_ERR_IO,
 * SD_ERR_DATA of a source that reads or decodes its files only now. */
sd_status sd_dataset_read(const sd_dataset *dataset, sd_split split, uint32_t index, sd_sample *sample);

/* The same as a network takes it: read, transformed as (seed, epoch, sample) says, normalised. x: [size, size, 3]
 * f32; the label is work->image.label. SD_ERR_DATA also if the image cannot be made to fit. */
sd_status sd_dataset_prepare(const sd_dataset *dataset, sd_split split, uint32_t index, sd_augment augment,
                             uint32_t seed, uint64_t epoch, sd_workspace *work, float *x);

/* How training images become steps. */
typedef struct sd_epoch_plan {
    uint64_t images, batch_size, full_batches;
    uint64_t last_images; /* images of a short last batch that is trained, else 0 */
    uint64_t steps;       /* an epoch */
} sd_epoch_plan;

/* keep: train a short last batch, unless a rank would get fewer than min_rank_images of it. */
sd_epoch_plan sd_epoch_plan_make(uint64_t images, uint64_t batch_size, sd_last_batch last, int ranks,
                                 uint64_t min_rank_images);
/* Images of batch b (from 0), over all ranks. */
uint64_t sd_epoch_plan_batch_images(const sd_epoch_plan *plan, uint64_t b);

typedef struct sd_loader sd_loader;

/* What a pass over images delivers: n_batches batches. Batch b holds the images order[first], ..., order[first +
 * count - 1], where ranges[b] = {first, count}. */
typedef struct sd_loader_pass {
    sd_split split;
    sd_augment augment;
    uint32_t seed;
    uint64_t epoch;
    const uint32_t *order; /* indices in the split; NULL: 0, 1, 2, ... Must live until end */
    const sd_range *ranges;
    uint64_t n_batches;
} sd_loader_pass;

typedef struct sd_batch {
    int images;
    sd_input input;
    sd_targets targets;
} sd_batch;

/* workers threads prepare up to workers + 1 batches of at most max_images ahead. The dataset must outlive the
 * loader. SD_ERR_MEMORY, and *loader is NULL. One caller at a time. */
sd_status sd_loader_create(const sd_dataset *dataset, int max_images, int workers, sd_loader **loader);
void sd_loader_destroy(sd_loader **loader);

/* begin, then next for each batch in order, then end; end may come early, and any number of passes may follow. A batch
 * is valid until the next next or end.
 *
 * next fails as the first image in the batch's order fails that cannot be prepared (sd_dataset_prepare()), whatever
 * thread met it; all later batches of the pass fail with the same status and message. *batch is set all the same,
 * with as many images as planned: those from the failed one on are zeros with label 0, so that a rank can go through
 * its part of a collective step before ranks agree. */
void sd_loader_begin(sd_loader *loader, const sd_loader_pass *pass);
sd_status sd_loader_next(sd_loader *loader, sd_batch *batch);
void sd_loader_end(sd_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
