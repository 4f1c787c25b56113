/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of slots, one batch each. Workers take batch numbers in order and fill slot b mod slots with batch b, once its
 * previous batch has been used. The content of a batch depends on its number only, not on worker or time. */
#include <pthread.h>
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "slot.h"
#include "transform.h"

typedef struct worker {
    sd_loader *loader;
    pthread_t thread;
    sd_workspace work;
} worker;

struct sd_loader {
    const sd_dataset *dataset;
    int n_workers, n_started, n_slots;
    sd_slot *slots;
    bool *ready; /* [slots]; the mutex guards this and the rest */
    worker *workers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    sd_loader_pass pass;
    uint64_t taken, used; /* number of batches that workers have taken; that the caller has used */
    uint64_t handed;      /* number of batches handed to the caller */
    int busy;             /* number of workers that fill a batch */
    bool quit;
    sd_bad_images bad;
    sd_outcome outcome; /* of the first failed batch that was handed over; only the caller's thread uses it */
};

static void *work(void *context) {
    worker *self = context;
    sd_loader *loader = self->loader;
    pthread_mutex_lock(&loader->mutex);
    while (!loader->quit) {
        if (loader->taken >= loader->pass.n_batches || loader->taken >= loader->used + (uint64_t)loader->n_slots) {
            pthread_cond_wait(&loader->changed, &loader->mutex);
            continue;
        }
        const uint64_t b = loader->taken++, at = b % (uint64_t)loader->n_slots;
        const sd_loader_pass pass = loader->pass;
        loader->busy++;
        pthread_mutex_unlock(&loader->mutex);
        sd_slot_fill(&loader->slots[at], loader->dataset, &pass, b, &self->work, &loader->bad);
        pthread_mutex_lock(&loader->mutex);
        loader->busy--;
        loader->ready[at] = true;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static sd_status start(sd_loader *loader, worker *self) {
    const int size = sd_dataset_samples(loader->dataset).image_size;
    self->loader = loader;
    SD_TRY(sd_workspace_reserve(&self->work, size, size)); /* so that reading images of this size does not allocate */
    if (pthread_create(&self->thread, NULL, work, self) != 0)
        return sd_fail(SD_ERR_MEMORY, "a loader thread could not be started; lower data.workers (%d)",
                       loader->n_workers);
    return SD_OK;
}

static sd_status create(const sd_dataset *dataset, int max_images, int workers, sd_loader *loader) {
    loader->dataset = dataset;
    loader->n_workers = workers;
    loader->n_slots = workers + 1;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->changed, NULL);
    sd_bad_images_init(&loader->bad);
    SD_TRY(sd_alloc(&loader->slots, (size_t)loader->n_slots, sizeof *loader->slots));
    SD_TRY(sd_alloc(&loader->ready, (size_t)loader->n_slots, sizeof *loader->ready));
    SD_TRY(sd_alloc(&loader->workers, (size_t)workers, sizeof *loader->workers));
    for (int i = 0; i < loader->n_slots; i++)
        SD_TRY(sd_slot_init(&loader->slots[i], dataset, max_images));
    for (; loader->n_started < workers; loader->n_started++)
        SD_TRY(start(loader, &loader->workers[loader->n_started]));
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
        pthread_join(loader->workers[i].thread, NULL);
    for (int i = 0; loader->workers && i < loader->n_workers; i++)
        sd_workspace_free(&loader->workers[i].work);
    for (int i = 0; loader->slots && i < loader->n_slots; i++)
        sd_slot_free(&loader->slots[i]);
    pthread_mutex_destroy(&loader->mutex);
    pthread_cond_destroy(&loader->changed);
    sd_bad_images_free(&loader->bad);
    free(loader->slots);
    free(loader->ready);
    free(loader->workers);
    free(loader);
    *place = NULL;
}

void sd_loader_begin(sd_loader *loader, const sd_loader_pass *pass) {
    pthread_mutex_lock(&loader->mutex);
    loader->pass = *pass;
    loader->taken = loader->used = loader->handed = 0;
    loader->outcome.status = SD_OK;
    for (int i = 0; i < loader->n_slots; i++)
        loader->ready[i] = false;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

/* Waits for the next batch. */
static const sd_slot *wait_for_next(sd_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    if (loader->handed > 0) { /* the previous batch has been used */
        loader->ready[loader->used % (uint64_t)loader->n_slots] = false;
        loader->used++;
        pthread_cond_broadcast(&loader->changed);
    }
    const uint64_t at = loader->handed++ % (uint64_t)loader->n_slots;
    while (!loader->ready[at])
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
    return &loader->slots[at];
}

sd_status sd_loader_next(sd_loader *loader, sd_batch *batch) {
    const sd_slot *slot = wait_for_next(loader);
    *batch = (sd_batch){
        .images = slot->images, .left_out = slot->left_out, .input = slot->input, .targets.labels = slot->labels};
    if (loader->outcome.status == SD_OK && slot->outcome.status != SD_OK)
        loader->outcome = slot->outcome;
    return sd_outcome_report(&loader->outcome);
}

void sd_loader_end(sd_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    loader->pass.n_batches = 0;
    while (loader->busy > 0)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
}

char *sd_loader_take_bad(sd_loader *loader) { return sd_bad_images_take(&loader->bad); }
