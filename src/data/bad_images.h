/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the images of a data set that could not be decoded, each once. */
#ifndef SDTRAIN_DATA_BAD_IMAGES_H
#define SDTRAIN_DATA_BAD_IMAGES_H

#include <pthread.h>

#include "sdtrain/data.h"

/* Initialise with sd_bad_images_init(). */
typedef struct sd_bad_images {
    pthread_mutex_t mutex;  /* guards the rest: workers note, the caller takes */
    unsigned char *seen[2]; /* a bit an image of each split, made when the first is noted */
    char *lines;            /* "path: reason\n" of those that were not taken yet */
    size_t n_bytes, capacity;
} sd_bad_images;

void sd_bad_images_init(sd_bad_images *bad);
void sd_bad_images_free(sd_bad_images *bad);

/* Notes an image of a split with this many, with the calling thread's error message, which is cleared. Where there is
 * no memory it is noted without its line. */
void sd_bad_images_note(sd_bad_images *bad, sd_split split, uint32_t images, uint32_t index);

/* As sd_loader_take_bad(). */
char *sd_bad_images_take(sd_bad_images *bad);

#endif
