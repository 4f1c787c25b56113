/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of slots, one batch each. Workers take batch numbers in order; batch b goes into slot b mod slots as soon as the
 * batch that was there has been used. What a batch holds depends on its number alone, not on which worker made it when. */
#include <pthread.h>
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/data.h"

typedef struct slot {
    float *x;
    int32_t *labels;
    uint8_t *pixels; /* of the image being read */
    int images;
    bool ready;
} slot;

struct sd_loader {
    const sd_dataset *dataset;
    size_t image_elems;
    int n_workers, n_started, n_slots;
    slot *slots;
    pthread_t *workers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    sd_loader_pass pass;  /* the rest is guarded by mutex */
    uint64_t taken, used; /* batches that workers have taken; that the caller is done with */
    uint64_t handed;      /* batches handed to the caller */
    int busy;             /* workers at work on a batch */
    bool quit;
};

static void fill(const sd_loader *loader, const sd_loader_pass *pass, uint64_t b, slot *to) {
    const sd_range range = pass->ranges[b];
    to->images = (int)range.count;
    for (uint64_t i = 0; i < range.count; i++) {
        uint64_t at = range.first + i;
        to->labels[i] =
            sd_dataset_prepare(loader->dataset, pass->split, pass->order ? pass->order[at] : (uint32_t)at,
                               pass->augment, pass->seed, pass->epoch, to->pixels, to->x + i * loader->image_elems);
    }
}

static void *work(void *context) {
    sd_loader *loader = context;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->quit) {
        if (loader->taken >= loader->pass.n_batches || loader->taken >= loader->used + (uint64_t)loader->n_slots) {
            pthread_cond_wait(&loader->changed, &loader->mutex);
            continue;
        }
        uint64_t b = loader->taken++;
        slot *to = &loader->slots[b % (uint64_t)loader->n_slots];
        sd_loader_pass pass = loader->pass;
        loader->busy++;
        pthread_mutex_unlock(&loader->mutex);
        fill(loader, &pass, b, to);
        pthread_mutex_lock(&loader->mutex);
        loader->busy--;
        to->ready = true;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static sd_status create(const sd_dataset *dataset, int max_images, int workers, sd_loader *loader) {
    const size_t size = (size_t)sd_dataset_image_size(dataset);
    loader->dataset = dataset;
    loader->image_elems = size * size * SD_CHANNELS;
    loader->n_workers = workers;
    loader->n_slots = workers + 1;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->changed, NULL);
    SD_TRY(sd_alloc(&loader->slots, (size_t)loader->n_slots, sizeof *loader->slots));
    SD_TRY(sd_alloc(&loader->workers, (size_t)workers, sizeof *loader->workers));
    for (int i = 0; i < loader->n_slots; i++) {
        SD_TRY(sd_alloc_floats(&loader->slots[i].x, (size_t)max_images * loader->image_elems));
        SD_TRY(sd_alloc(&loader->slots[i].labels, (size_t)max_images, sizeof *loader->slots[i].labels));
        SD_TRY(sd_alloc(&loader->slots[i].pixels, loader->image_elems, 1));
    }
    for (; loader->n_started < workers; loader->n_started++)
        if (pthread_create(&loader->workers[loader->n_started], NULL, work, loader) != 0)
            return sd_fail(SD_ERR_MEMORY, "a loader thread could not be started; lower data.workers (%d)", workers);
    return SD_OK;
}

sd_status sd_loader_create(const sd_dataset *dataset, int max_images, int workers, sd_loader **loader) {
    SD_TRY(sd_alloc(loader, 1, sizeof **loader));
    sd_status status = create(dataset, max_images, workers, *loader);
    if (status != SD_OK)
        sd_loader_destroy(loader);
    return status;
}

void sd_loader_destroy(sd_loader **place) {
    sd_loader *loader = *place;
    if (!loader)
        return;
    pthread_mutex_lock(&loader->mutex);
    loader->quit = true;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
    for (int i = 0; i < loader->n_started; i++)
        pthread_join(loader->workers[i], NULL);
    for (int i = 0; loader->slots && i < loader->n_slots; i++) {
        free(loader->slots[i].x);
        free(loader->slots[i].labels);
        free(loader->slots[i].pixels);
    }
    pthread_mutex_destroy(&loader->mutex);
    pthread_cond_destroy(&loader->changed);
    free(loader->slots);
    free(loader->workers);
    free(loader);
    *place = NULL;
}

void sd_loader_begin(sd_loader *loader, const sd_loader_pass *pass) {
    pthread_mutex_lock(&loader->mutex);
    loader->pass = *pass;
    loader->taken = loader->used = loader->handed = 0;
    for (int i = 0; i < loader->n_slots; i++)
        loader->slots[i].ready = false;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

sd_batch sd_loader_next(sd_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    if (loader->handed > 0) { /* the batch before is done with */
        loader->slots[loader->used % (uint64_t)loader->n_slots].ready = false;
        loader->used++;
        pthread_cond_broadcast(&loader->changed);
    }
    slot *from = &loader->slots[loader->handed++ % (uint64_t)loader->n_slots];
    while (!from->ready)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
    return (sd_batch){.images = from->images, .x = from->x, .labels = from->labels};
}

void sd_loader_end(sd_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    loader->pass.n_batches = 0;
    while (loader->busy > 0)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
}
