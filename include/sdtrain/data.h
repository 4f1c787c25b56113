/* SPDX-License-Identifier: Apache-2.0 */
/* Images: data sets, their order, augmentation, and the threads that prepare batches ahead.
 *
 *     source -> read, decode -> transform(seed, epoch, sample) -> normalise -> batch of input and targets
 *
 * Local. Order and augmentation are pure functions of (seed, epoch, sample): they depend neither on the number of ranks
 * or worker threads nor on resuming. */
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

/* The transform of training images. */
#define SD_AUGMENT_LIST(X)                                                                                             \
    X(SD_AUGMENT_NONE, "none")                                                                                         \
    X(SD_AUGMENT_CROP_FLIP, "crop_flip") /* zero padding of 4, random crop, random horizontal flip */
typedef enum sd_augment { SD_AUGMENT_LIST(SD_CHOICE_ENUMERATOR) } sd_augment;
SD_CHOICE_WORD_OF(sd_augment, SD_AUGMENT_LIST)

/* The treatment of an incomplete last batch. */
#define SD_LAST_BATCH_LIST(X)                                                                                          \
    X(SD_LAST_BATCH_DROP, "drop")                                                                                      \
    X(SD_LAST_BATCH_KEEP, "keep")
typedef enum sd_last_batch { SD_LAST_BATCH_LIST(SD_CHOICE_ENUMERATOR) } sd_last_batch;
SD_CHOICE_WORD_OF(sd_last_batch, SD_LAST_BATCH_LIST)

/* The data set, and the part of it in use. 0: the data set's own value. */
typedef struct sd_data_spec {
    sd_dataset_kind kind;
    const char *path;   /* folder of its files, or the parent; the caller's memory */
    int64_t image_size; /* pixels */
    int64_t classes;
    int64_t train_samples, val_samples; /* the first N in file order */
    int64_t
        validation; /* number of training images, drawn by the seed, that validate instead of the test set; 0: none */
    int64_t scored_samples; /* training images to be scored; warns if there are fewer */
    uint32_t seed;
} sd_data_spec;

typedef enum sd_split { SD_SPLIT_TRAIN, SD_SPLIT_VALIDATION } sd_split;

/* The samples of a data set, as far as a model depends on them. */
typedef struct sd_sample_spec {
    int image_size; /* height and width; SD_CHANNELS channels */
    int classes;
} sd_sample_spec;

/* Elements of one sample as the input of a network. */
size_t sd_sample_elems(sd_sample_spec samples);

typedef struct sd_dataset sd_dataset;

/* Opens a data set, checks its files (CIFAR: reads them whole), and splits off the validation images. SD_ERR_NOINPUT,
 * SD_ERR_DATA (file and record), SD_ERR_CONFIG (an impossible request; the message begins with its key,
 * "data.image_size: ..."), SD_ERR_MEMORY. On failure *dataset is NULL. */
sd_status sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset);
/* Destroy its loaders first. */
void sd_dataset_close(sd_dataset **dataset);

/* Describes the samples without opening files. */
sd_sample_spec sd_dataset_describe(const sd_data_spec *spec);

sd_sample_spec sd_dataset_samples(const sd_dataset *dataset);
uint32_t sd_dataset_images(const sd_dataset *dataset, sd_split split);
size_t sd_dataset_bytes(const sd_dataset *dataset); /* of images held in memory */
/* A hash of all images and labels of its files, used or not; equal for copies of a data set. */
uint64_t sd_dataset_hash(const sd_dataset *dataset);

/* Per-channel mean and standard deviation of the training images, pixels in 0..1: [SD_CHANNELS] each. Synthetic images:
 * 0.5 and 0.25 by definition. An evaluation sets those of the checkpoint. */
const float *sd_dataset_mean(const sd_dataset *dataset);
const float *sd_dataset_deviation(const sd_dataset *dataset);
void sd_dataset_set_normalisation(sd_dataset *dataset, const float *mean, const float *deviation);

/* A sample as read from the source, in memory that later reads reuse. Initialise to {0}. */
typedef struct sd_sample {
    int h, w;
    uint8_t *pixels; /* [h, w, SD_CHANNELS] NHWC */
    size_t capacity_bytes;
    int32_t label;
} sd_sample;
void sd_sample_free(sd_sample *sample);

/* Memory in which a thread prepares images. Initialise to {0}. */
typedef struct sd_workspace {
    sd_sample image; /* read, then transformed */
    sd_sample spare; /* output of transforms that do not work in place */
} sd_workspace;
void sd_workspace_free(sd_workspace *work);

/* Reads one image at its own size. Threads may read concurrently. SD_ERR_MEMORY; SD_ERR_NOINPUT, SD_ERR_IO, SD_ERR_DATA
 * from sources that read or decode files here. */
sd_status sd_dataset_read(const sd_dataset *dataset, sd_split split, uint32_t index, sd_sample *sample);

/* Prepares one image for a network: reads it, transforms it by the draws of (seed, epoch, sample), and normalises it.
 * x: [size, size, 3] f32; the label is work->image.label. SD_ERR_DATA also if the image cannot be made to fit. */
sd_status sd_dataset_prepare(const sd_dataset *dataset, sd_split split, uint32_t index, sd_augment augment,
                             uint32_t seed, uint64_t epoch, sd_workspace *work, float *x);

/* The steps of a training epoch. */
typedef struct sd_epoch_plan {
    uint64_t images, batch_size, full_batches;
    uint64_t last_images; /* images of an incomplete last batch that is trained, else 0 */
    uint64_t steps;       /* per epoch */
} sd_epoch_plan;

/* SD_LAST_BATCH_KEEP: trains an incomplete last batch if every rank gets at least min_rank_images of it. */
sd_epoch_plan sd_epoch_plan_make(uint64_t images, uint64_t batch_size, sd_last_batch last, int ranks,
                                 uint64_t min_rank_images);
/* Images of batch b (from 0), over all ranks. */
uint64_t sd_epoch_plan_batch_images(const sd_epoch_plan *plan, uint64_t b);

typedef struct sd_loader sd_loader;

/* A pass over images: n_batches batches. Batch b has the images order[first], ..., order[first + count - 1], where
 * ranges[b] = {first, count}. */
typedef struct sd_loader_pass {
    sd_split split;
    sd_augment augment;
    uint32_t seed;
    uint64_t epoch;
    const uint32_t *order; /* indices in the split; NULL: 0, 1, 2, ... Valid until end */
    const sd_range *ranges;
    uint64_t n_batches;
} sd_loader_pass;

typedef struct sd_batch {
    int images;
    sd_input input;
    sd_targets targets;
} sd_batch;

/* `workers` threads prepare up to workers + 1 batches of at most max_images ahead. The dataset must outlive the loader.
 * SD_ERR_MEMORY, and *loader is NULL. One caller at a time. */
sd_status sd_loader_create(const sd_dataset *dataset, int max_images, int workers, sd_loader **loader);
void sd_loader_destroy(sd_loader **loader);

/* A pass: begin, next for each batch in order, end; end may come early. Any number of passes may follow. A batch is
 * valid until the following next or end.
 *
 * next fails with the error of the first image, in batch order, that cannot be prepared (sd_dataset_prepare()); all
 * later batches of the pass fail with the same status and message. *batch is valid nevertheless and has its planned
 * number of images; those from the failed one on are zeros with label 0, so that a rank can finish a collective step
 * before ranks agree on the error. */
void sd_loader_begin(sd_loader *loader, const sd_loader_pass *pass);
sd_status sd_loader_next(sd_loader *loader, sd_batch *batch);
void sd_loader_end(sd_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
