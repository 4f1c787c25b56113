/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: from a data set to the batches of this rank. */
#ifndef SDTRAIN_TRAIN_PIPELINE_H
#define SDTRAIN_TRAIN_PIPELINE_H

#include "sdtrain/data.h"
#include "session.h"
#include "touched.h"

typedef struct sd_pipeline {
    sd_data_spec spec; /* with what was found */
    sd_found *found;   /* on all ranks; NULL: for this kind of data set nothing */
    sd_dataset *dataset;
    sd_loader *loader;
    int shards;      /* of a batch, over all ranks */
    int shards_here; /* of them on this rank, which computes one after another */
    int first_shard; /* of these */
    int max_images;  /* of a shard, and so of a pass */
    sd_epoch_plan epoch_plan;
    uint64_t min_shard_images; /* batch norm and fairness need so many */
    uint32_t *order;           /* of the training images in the epoch under way */
    sd_range *ranges;          /* this rank's shards of each batch */
    sd_touched touched;        /* by a batch */
} sd_pipeline;

/* How many shards a batch has: communication.shards with reduction = reproducible, else as many as ranks. */
int sd_shards_of(const sd_config *config, int ranks);
/* What a message calls them. */
const char *sd_shards_word(const sd_config *config);

/* Finds what must be known of the data set on rank 0, and tells the other ranks. Before the rest; close in any case.
 * Collective. */
sd_status sd_pipeline_find(sd_pipeline *pipeline, const sd_session *session);

/* Opens the data set and plans its epochs. min_shard_images: sd_trainer_check() says it. Local: ranks may fail apart.
 * SD_ERR_CONFIG if not even one step is possible; else the errors of sd_dataset_open(). Close in any case. */
sd_status sd_pipeline_open(sd_pipeline *pipeline, const sd_session *session, uint64_t min_shard_images);
void sd_pipeline_close(sd_pipeline *pipeline);

/* Of what tells one data set from another: each rank reads its own copy of the files. */
uint64_t sd_pipeline_hash(const sd_pipeline *pipeline);

/* The names of all classes, a line each; NULL if they have none. Caller frees. SD_ERR_MEMORY. */
sd_status sd_pipeline_class_names(const sd_pipeline *pipeline, char **names);

/* The vocabulary of texts, a piece a line; NULL: of images. Caller frees. SD_ERR_MEMORY. */
sd_status sd_pipeline_vocab(const sd_pipeline *pipeline, char **vocab);

/* The images of a batch, of so many over all ranks, that are one of this rank's shards. */
sd_range sd_pipeline_shard(const sd_pipeline *pipeline, uint64_t images, int shard);

/* Begins to prepare this rank's shards of an epoch (from 1), from batch `batch` (from 0) on, in the epoch's order,
 * which the seed draws. A loader that has begun is ended before it begins again. */
void sd_pipeline_begin_epoch(sd_pipeline *pipeline, sd_augment augment, uint32_t seed, uint64_t epoch, uint64_t batch);

/* The rows of the table of embeddings that batch `batch` of the epoch under way touches, over all ranks; NULL: of
 * images. Valid until the next call. */
const sd_row_set *sd_pipeline_rows(sd_pipeline *pipeline, uint64_t batch);

/* How many rows a batch touches, on average over some batches of the first epoch; 0: of images. The epoch under way is
 * left. */
double sd_pipeline_mean_rows(sd_pipeline *pipeline, uint32_t seed);

/* The same for the first n images of a split, in file order and without augmentation: this rank's shards one after
 * another, each cut into passes of up to max_images. */
void sd_pipeline_begin_scoring(sd_pipeline *pipeline, sd_split split, uint64_t n);

#endif
