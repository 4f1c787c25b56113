/* SPDX-License-Identifier: Apache-2.0 */
#include "background.h"

static void *run(void *context) {
    sd_background *background = context;
    sd_outcome_keep(&background->outcome, background->job(background->context));
    atomic_store(&background->done, true);
    return NULL;
}

void sd_background_begin(sd_background *background, sd_status (*job)(void *), void *context) {
    background->job = job;
    background->context = context;
    atomic_store(&background->done, false);
    background->threaded = pthread_create(&background->thread, NULL, run, background) == 0;
    if (!background->threaded)
        run(background);
    background->started = true;
}

static void join(sd_background *background) {
    if (background->threaded)
        pthread_join(background->thread, NULL);
    background->started = false;
}

void sd_background_discard(sd_background *background) {
    if (!background->started)
        return;
    join(background);
    if (background->outcome.status != SD_OK)
        sd_log_warn("%s", background->outcome.message);
}

sd_status sd_background_end(sd_background *background) {
    if (!background->started)
        return SD_OK;
    join(background);
    return sd_outcome_report(&background->outcome);
}
