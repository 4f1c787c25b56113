/* SPDX-License-Identifier: Apache-2.0 */
/* Private: one job at a time, done by a thread while the caller goes on. Local. */
#ifndef SDTRAIN_BASE_BACKGROUND_H
#define SDTRAIN_BASE_BACKGROUND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "sdtrain/status.h"

typedef struct sd_background {
    sd_status (*job)(void *);
    void *context;
    pthread_t thread;
    bool started, threaded;
    atomic_bool done;
    sd_outcome outcome;
} sd_background;

/* Begins a job; none may be under way. Where no thread can be had, it is done at once. */
void sd_background_begin(sd_background *background, sd_status (*job)(void *), void *context);

/* Whether a job is under way, or done and not yet ended. */
static inline bool sd_background_is_busy(const sd_background *background) { return background->started; }
static inline bool sd_background_is_done(const sd_background *background) {
    return background->started && atomic_load(&background->done);
}

/* Waits for the job; its status and message become the caller's. SD_OK if there is none. */
sd_status sd_background_end(sd_background *background);
/* Waits as well, but leaves the caller's error message alone; a failure is a warning. */
void sd_background_discard(sd_background *background);

#endif
