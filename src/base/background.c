/* SPDX-License-Identifier: Apache-2.0 */
#include "background.h"

#include <stdio.h>

static void *run(void *context) {
    sd_background *background = context;
    background->status = background->job(background->context);
    if (background->status != SD_OK)
        snprintf(background->message, sizeof background->message, "%s", sd_error_message());
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
    if (background->status != SD_OK)
        sd_log_warn("%s", background->message);
}

sd_status sd_background_end(sd_background *background) {
    if (!background->started)
        return SD_OK;
    join(background);
    return background->status == SD_OK ? SD_OK : sd_fail(background->status, "%s", background->message);
}
