#include "sdtrain/background.h"

#include <stdio.h>
#include <string.h>

static void *run(void *context) {
    sd_background *background = context;
    background->status = background->job(background->context);
    if (background->status != SD_OK)
        snprintf(background->message, sizeof background->message, "%s", sd_error_message());
    atomic_store(&background->done, true);
    return NULL;
}

sd_status sd_background_begin(sd_background *background, sd_status (*job)(void *), void *context) {
    background->job = job;
    background->context = context;
    atomic_store(&background->done, false);
    const int code = pthread_create(&background->thread, NULL, run, background);
    if (code != 0)
        return sd_fail(SD_ERR_MEMORY, "a thread could not be started: %s", strerror(code));
    background->started = true;
    return SD_OK;
}

sd_status sd_background_end(sd_background *background) {
    if (!background->started)
        return SD_OK;
    pthread_join(background->thread, NULL);
    background->started = false;
    return background->status == SD_OK ? SD_OK : sd_fail(background->status, "%s", background->message);
}
