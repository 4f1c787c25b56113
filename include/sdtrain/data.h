/* SPDX-License-Identifier: Apache-2.0 */
/* Images and texts: data sets, their order, augmentation, and the threads that prepare batches ahead.
 *
 *     source -> read, decode -> transform(seed, epoch, sample) -> normalise -> batch of input and targets
 *     source -> table of ids (made once, at the start)                      -> batch of input and targets
 *
 * What a data set holds is called images here, texts too.
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
#include "sdtrain/resample.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SD_CHANNELS = 3 };

/* Kinds of data sets; each has a row in data/source.c. */
#define SD_DATASET_LIST(X)                                                                                             \
    X(SD_DATASET_SYNTHETIC, "synthetic") /* procedural coloured shapes */                                              \
    X(SD_DATASET_CIFAR10, "cifar10")                                                                                   \
    X(SD_DATASET_CIFAR100, "cifar100")                                                                                 \
    X(SD_DATASET_FOLDER, "folder")                 /* JPEG and PNG files, in folders that are classes */               \
    X(SD_DATASET_HDF5, "hdf5")                     /* one file of sd_pack() */                                         \
    X(SD_DATASET_TEXT, "text")                     /* .tsv or .csv tables of texts and labels */                       \
    X(SD_DATASET_SYNTHETIC_TEXT, "synthetic_text") /* procedural expressions of logic */
typedef enum sd_dataset_kind { SD_DATASET_LIST(SD_CHOICE_ENUMERATOR) } sd_dataset_kind;
SD_CHOICE_WORD_OF(sd_dataset_kind, SD_DATASET_LIST)

/* The transform of training images. */
#define SD_AUGMENT_LIST(X)                                                                                             \
    X(SD_AUGMENT_NONE, "none")                                                                                         \
    X(SD_AUGMENT_CROP_FLIP, "crop_flip")       /* zero padding of 4, random crop, random horizontal flip */            \
    X(SD_AUGMENT_RESIZED_CROP, "resized_crop") /* random crop of 8 % to 100 % of the area, resized; random flip */
typedef enum sd_augment { SD_AUGMENT_LIST(SD_CHOICE_ENUMERATOR) } sd_augment;
SD_CHOICE_WORD_OF(sd_augment, SD_AUGMENT_LIST)

/* The treatment of an incomplete last batch. */
#define SD_LAST_BATCH_LIST(X)                                                                                          \
    X(SD_LAST_BATCH_DROP, "drop")                                                                                      \
    X(SD_LAST_BATCH_KEEP, "keep")
typedef enum sd_last_batch { SD_LAST_BATCH_LIST(SD_CHOICE_ENUMERATOR) } sd_last_batch;
SD_CHOICE_WORD_OF(sd_last_batch, SD_LAST_BATCH_LIST)

/* The treatment of an image that cannot be decoded. */
#define SD_BAD_IMAGE_LIST(X)                                                                                           \
    X(SD_BAD_IMAGE_STOP, "stop")                                                                                       \
    X(SD_BAD_IMAGE_SKIP, "skip") /* training takes the next image of the split, as timm does; scoring leaves it out */
typedef enum sd_bad_image { SD_BAD_IMAGE_LIST(SD_CHOICE_ENUMERATOR) } sd_bad_image;
SD_CHOICE_WORD_OF(sd_bad_image, SD_BAD_IMAGE_LIST)

/* What must be known of files before a data set is described: the list of those in a folder, the header of a packed
 * file. */
typedef struct sd_found sd_found;

/* The data set, and the part of it in use. 0: the data set's own value. Pointers are the caller's memory. */
typedef struct sd_data_spec {
    sd_dataset_kind kind;
    const char *path;   /* folder of its files, or the parent; of a packed set the file */
    int64_t image_size; /* pixels of a side, as the network takes them; images of other sizes are resized */
    int64_t classes;
    int64_t train_samples, val_samples; /* the first N in file order */
    int64_t validation;     /* number of training images, drawn by the seed, that validate, not the test set; 0: none */
    int64_t scored_samples; /* training images to be scored; warns if there are fewer */
    uint32_t seed;
    sd_filter interpolation;
    double crop_pct;       /* of the shorter side that augment = none crops; 0: 0.875 above 64 pixels, else 1 */
    const char *normalise; /* as of sd_normalise_check(); NULL: auto */
    sd_bad_image on_bad_image;
    /* Of texts: */
    const char *vocab; /* path of a vocab.txt; "" or NULL: the one in the folder */
    bool lower_case;
    int64_t sequence;         /* ids that a network reads of a text, at most; longer ones are cut */
    const char *text_columns; /* one or two names, or numbers from 1, with a comma between; "" or NULL: found by name */
    const char *label_column; /* likewise, one */
    const sd_found *found;    /* of sd_data_find(); outlives the data set */
} sd_data_spec;

/* Whether a text says how pixels are normalised:
 *
 *     auto          dataset; for folders imagenet
 *     dataset       mean and standard deviation of the training images in use (a packed set has them if these are all
 *                   of its own; else each is read once); of synthetic ones by definition
 *     imagenet      0.485 0.456 0.406 and 0.229 0.224 0.225 (torchvision)
 *     half          0.5 and 0.5, the range -1..1 (timm's ViTs of AugReg)
 *     m,m,m,s,s,s   means and standard deviations
 *
 * SD_ERR_CONFIG; the message begins with "data.normalise: ". */
sd_status sd_normalise_check(const char *text);

/* Whether a text names columns of a table (data.text_columns, data.label_column): "", or up to `most`, 1 or 2, names,
 * or numbers from 1, with a comma between. key: for the message. SD_ERR_CONFIG. */
sd_status sd_text_columns_check(const char *key, const char *text, int most);

/* Finds on the disk what must be known before a data set is described or opened. *found is NULL if there is nothing to
 * find. Where ranks share a disk one of them finds, and the others get the bytes: a folder is listed once, and all
 * ranks describe the same samples, whatever each of them will meet when it opens the files. Errors as of
 * sd_dataset_open(). */
sd_status sd_data_find(const sd_data_spec *spec, sd_found **found);
/* What was found, as bytes: they are the object, and live as long. */
void sd_found_bytes(const sd_found *found, const void **bytes, size_t *n_bytes);
/* Makes such bytes, in memory of malloc(), an object that owns them, without a copy. Checks all of them. SD_ERR_DATA
 * if they are not what sd_found_bytes() gives on a machine of this byte order; then the caller still owns them, and
 * *found is NULL. */
sd_status sd_found_of_bytes(void *bytes, size_t n_bytes, sd_found **found);
void sd_found_free(sd_found **found);

/* A list of image files. */
typedef struct sd_listing sd_listing;
void sd_listing_free(sd_listing **listing);

/* Lists image files that have no classes, for sd_dataset_open_files(). An input that is a folder stands for the files
 * in it, at any depth, whose name is an image's (.jpg, .jpeg, .png; also those of formats that are not read, as reading
 * will tell), sorted by the path of their folder, then by name, both by bytes; links are followed, but not back to a
 * folder in which they lie. Any other input is a file, whatever its name and whether it is there or not: reading will
 * tell. *n_missed: folders that cannot be read or have no image in them, and paths that are too long; a warning names
 * each. SD_ERR_MEMORY; SD_ERR_DATA beyond 2^32 images. *listing is NULL on failure. */
sd_status sd_data_find_files(int n, const char *const *inputs, uint64_t *n_missed, sd_listing **listing);
/* The images of a listing. test: those of the test set, as which files without classes are listed. */
uint32_t sd_listing_images(const sd_listing *listing, bool test);
/* The path of one of them; it begins as the folder or input did that was listed. Returns path. */
enum { SD_LISTING_PATH_BYTES = 4096 }; /* with its zero: what Linux takes */
const char *sd_listing_path(const sd_listing *listing, bool test, uint32_t index, char path[SD_LISTING_PATH_BYTES]);

typedef enum sd_split { SD_SPLIT_TRAIN, SD_SPLIT_VALIDATION } sd_split;

/* The samples of a data set, as far as a model depends on them. */
typedef struct sd_sample_spec {
    int image_size; /* height and width; SD_CHANNELS channels; of texts 0 */
    int classes;
    int sequence, vocabulary; /* of texts: tokens of a sample, with padding; different tokens; of images 0 */
} sd_sample_spec;

static inline bool sd_samples_are_texts(sd_sample_spec samples) { return samples.sequence > 0; }

/* Elements of one sample as the input of a network, four bytes each: values of pixels, or ids. */
size_t sd_sample_elems(sd_sample_spec samples);

typedef struct sd_dataset sd_dataset;

/* Opens a data set, checks its files (CIFAR: reads them whole), and splits off the validation images. SD_ERR_NOINPUT,
 * SD_ERR_DATA (file and record), SD_ERR_CONFIG (an impossible request; the message begins with its key,
 * "data.image_size: ..."), SD_ERR_MEMORY. On failure *dataset is NULL. */
sd_status sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset);
/* Files without classes, of sd_data_find_files(), as validation images that are prepared as those of a data set of
 * `spec`: its filter and crop, to images of samples.image_size; mean and deviation: [SD_CHANNELS] each. Labels are 0.
 * files outlives the data set. SD_ERR_MEMORY. */
sd_status sd_dataset_open_files(const sd_data_spec *spec, sd_sample_spec samples, const float *mean,
                                const float *deviation, const sd_listing *files, sd_dataset **dataset);
/* Destroy its loaders first. */
void sd_dataset_close(sd_dataset **dataset);

/* Describes the samples without opening files: of a folder or a packed set by what was found. */
sd_sample_spec sd_dataset_describe(const sd_data_spec *spec);

sd_sample_spec sd_dataset_samples(const sd_dataset *dataset);
uint32_t sd_dataset_images(const sd_dataset *dataset, sd_split split);
size_t sd_dataset_bytes(const sd_dataset *dataset); /* of images held in memory */
/* A hash of all images and labels of its files, used or not; equal for copies of a data set. Of a folder: of names,
 * lengths and order of its files. */
uint64_t sd_dataset_hash(const sd_dataset *dataset);
/* What differs if two hashes differ, for messages. */
const char *sd_dataset_hashed(const sd_dataset *dataset);
/* Of texts: the vocabulary, the content of vocab.txt, whose length is *bytes, and whether it is of lower case. NULL:
 * the data set has none. */
const char *sd_dataset_vocabulary(const sd_dataset *dataset, size_t *bytes, bool *lower_case);
/* How long the training texts in use are, in ids. */
typedef struct sd_text_lengths {
    double mean;
    int longest;
    double full; /* share of those that fill the sequence: most of them were cut */
} sd_text_lengths;
sd_text_lengths sd_dataset_text_lengths(const sd_dataset *dataset);
/* Of texts: is_touched[id] = 1 for every id of one text of a split. is_touched: [vocabulary]. */
void sd_dataset_touch(const sd_dataset *dataset, sd_split split, uint32_t index, unsigned char *is_touched);
/* The name of a class; "" if the data set has none. */
const char *sd_dataset_class(const sd_dataset *dataset, int label);

/* Per-channel mean and standard deviation that pixels in 0..1 are normalised with: [SD_CHANNELS] each. Synthetic
 * images: 0.5 and 0.25 by definition. An evaluation sets those of the checkpoint. */
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
    struct sd_resizer *resizer;
} sd_workspace;
void sd_workspace_free(sd_workspace *work);

/* Reads one image at its own size; not of texts, nor is the next. Threads may read concurrently. SD_ERR_MEMORY;
 * SD_ERR_NOINPUT, SD_ERR_IO, SD_ERR_DATA from sources that read or decode files here. */
sd_status sd_dataset_read(const sd_dataset *dataset, sd_split split, uint32_t index, sd_sample *sample);

/* Prepares one image for a network: reads it, transforms it by the draws of (seed, epoch, sample), and normalises it.
 * x: [size, size, 3] f32; the label is work->image.label. SD_ERR_DATA also if the image cannot be made to fit. */
sd_status sd_dataset_prepare(const sd_dataset *dataset, sd_split split, uint32_t index, sd_augment augment,
                             uint32_t seed, uint64_t epoch, sd_workspace *work, float *x);
/* Prepares a range of images with SD_AUGMENT_NONE, by OpenMP's threads. x: [count, size, size, 3] f32, unchanged where
 * an image fails; outcomes: [count]. */
void sd_dataset_prepare_range(const sd_dataset *dataset, sd_split split, sd_range range, float *x,
                              sd_outcome *outcomes);

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
    bool scoring; /* with on_bad_image = skip: a bad image is left out; else the next one of the split replaces it */
} sd_loader_pass;

typedef struct sd_batch {
    int images;
    int left_out; /* bad images of its range, which are not among these */
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

/* The bad images that passes have met since the last call, each once in the loader's life, with on_bad_image = skip: a
 * line "path: reason" each, in no order. NULL: none. Caller frees. */
char *sd_loader_take_bad(sd_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
