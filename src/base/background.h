/* SPDX-License-Identifier: Apache-2.0 */
/* Private: runs one job at a time on a thread, beside the caller. Local. */
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

/* Begins a job; none may be under way. Runs it at once if no thread can be created. */
void sd_background_begin(sd_background *background, sd_status (*job)(void *), void *context);

/* Whether a job is under way, or done and not yet ended. */
static inline bool sd_background_is_busy(const sd_background *background) { return background->started; }
static inline bool sd_background_is_done(const sd_background *background) {
    return background->started && atomic_load(&background->done);
}

/* Waits for the job, and returns its status with its error message. SD_OK if there is none. */
sd_status sd_background_end(sd_background *background);
/* Waits for the job, and warns if it failed. The caller's error message stays. */
void sd_background_discard(sd_background *background);

#endif
