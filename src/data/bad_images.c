/* SPDX-License-Identifier: Apache-2.0 */
#include "bad_images.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

void sd_bad_images_init(sd_bad_images *bad) {
    *bad = (sd_bad_images){0};
    pthread_mutex_init(&bad->mutex, NULL);
}

void sd_bad_images_free(sd_bad_images *bad) {
    pthread_mutex_destroy(&bad->mutex);
    free(bad->seen[SD_SPLIT_TRAIN]);
    free(bad->seen[SD_SPLIT_VALIDATION]);
    free(bad->lines);
}

/* Whether it is new. */
static bool mark(sd_bad_images *bad, sd_split split, uint32_t images, uint32_t index) {
    const unsigned char bit = (unsigned char)(1u << index % 8);
    if (!bad->seen[split])
        bad->seen[split] = calloc(images / 8 + 1, 1);
    if (!bad->seen[split] || (bad->seen[split][index / 8] & bit))
        return false;
    bad->seen[split][index / 8] |= bit;
    return true;
}

static void append(sd_bad_images *bad, const char *line) {
    const size_t bytes = strlen(line), needed = bad->n_bytes + bytes + 2;
    if (needed > bad->capacity) {
        char *grown = realloc(bad->lines, 2 * needed);
        if (!grown)
            return;
        bad->lines = grown;
        bad->capacity = 2 * needed;
    }
    memcpy(bad->lines + bad->n_bytes, line, bytes);
    bad->n_bytes += bytes;
    bad->lines[bad->n_bytes++] = '\n';
    bad->lines[bad->n_bytes] = '\0';
}

void sd_bad_images_note(sd_bad_images *bad, sd_split split, uint32_t images, uint32_t index) {
    pthread_mutex_lock(&bad->mutex);
    if (mark(bad, split, images, index))
        append(bad, sd_error_message());
    pthread_mutex_unlock(&bad->mutex);
    sd_error_clear();
}

char *sd_bad_images_take(sd_bad_images *bad) {
    pthread_mutex_lock(&bad->mutex);
    char *lines = bad->lines;
    bad->lines = NULL;
    bad->n_bytes = bad->capacity = 0;
    pthread_mutex_unlock(&bad->mutex);
    return lines;
}
