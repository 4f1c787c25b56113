/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the threads of a loader prepare the batches of an epoch. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/data.h"
#include "sdtrain/random.h"

typedef struct trial {
    const sd_config *config;
    sd_found *found;
    sd_dataset *dataset;
    sd_loader *loader;
    uint32_t *order;
    sd_range *ranges;
    uint64_t batches;
} trial;

static sd_status trial_open(trial *t, const sd_config *config) {
    const uint64_t batch = (uint64_t)config->train.batch_size;
    sd_data_spec spec = sd_config_data(config);
    *t = (trial){.config = config};
    SD_TRY(sd_data_find(&spec, &t->found));
    spec.found = t->found;
    SD_TRY(sd_dataset_open(&spec, &t->dataset));
    const uint32_t images = sd_dataset_images(t->dataset, SD_SPLIT_TRAIN);
    t->batches = images / batch;
    if (t->batches == 0)
        return sd_fail(SD_ERR_CONFIG, "train.batch_size: %llu is more than the %u training images",
                       (unsigned long long)batch, images);
    SD_TRY(sd_alloc(&t->order, images, sizeof *t->order));
    SD_TRY(sd_alloc(&t->ranges, t->batches, sizeof *t->ranges));
    sd_random_permutation((uint32_t)config->run.seed, SD_STREAM_ORDER, 1, t->order, images);
    for (uint64_t b = 0; b < t->batches; b++)
        t->ranges[b] = (sd_range){b * batch, batch};
    return sd_loader_create(t->dataset, (int)batch, (int)config->data.workers, &t->loader);
}

static void trial_close(trial *t) {
    sd_loader_destroy(&t->loader);
    sd_dataset_close(&t->dataset);
    sd_found_free(&t->found);
    free(t->order);
    free(t->ranges);
}

/* Images a second over an epoch. */
static sd_status run_epoch(trial *t, uint64_t epoch, double *speed) {
    const double begin = sd_clock_seconds();
    sd_status status = SD_OK;
    uint64_t images = 0;
    sd_loader_begin(t->loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                                 .augment = t->config->data.augment,
                                                 .seed = (uint32_t)t->config->run.seed,
                                                 .epoch = epoch,
                                                 .order = t->order,
                                                 .ranges = t->ranges,
                                                 .n_batches = t->batches});
    for (uint64_t b = 0; b < t->batches && status == SD_OK; b++) {
        sd_batch batch;
        status = sd_loader_next(t->loader, &batch);
        images += (uint64_t)batch.images;
    }
    sd_loader_end(t->loader);
    *speed = (double)images / (sd_clock_seconds() - begin);
    return status;
}

static sd_status measure(trial *t, int rounds, double *speeds) {
    const sd_config *config = t->config;
    double warm_up;
    SD_TRY(run_epoch(t, 1, &warm_up)); /* files come into the page cache */
    for (int i = 0; i < rounds; i++)
        SD_TRY(run_epoch(t, (uint64_t)i + 2, &speeds[i]));
    const bench_spread spread = bench_spread_of(speeds, rounds);
    printf("loader, %d pixels, augment = %s, %s, %lld worker%s, %llu images a round\n",
           sd_dataset_samples(t->dataset).image_size, sd_augment_word(config->data.augment),
           sd_filter_word(config->data.interpolation), (long long)config->data.workers,
           config->data.workers == 1 ? "" : "s",
           (unsigned long long)t->batches * (unsigned long long)config->train.batch_size);
    printf("  images/s %10.1f%10.1f%10.1f\n", spread.median, spread.lowest, spread.highest);
    return SD_OK;
}

sd_status bench_loader(const sd_config *config, int rounds) {
    trial t;
    double *speeds = NULL;
    sd_status status;
    SD_TRY_CLEANUP(trial_open(&t, config));
    SD_TRY_CLEANUP(sd_alloc(&speeds, (size_t)rounds, sizeof *speeds));
    status = measure(&t, rounds, speeds);
cleanup:
    free(speeds);
    trial_close(&t);
    return status;
}
