/* SPDX-License-Identifier: Apache-2.0 */
#include "texts.h"

#include <string.h>

/* Where the arrays lie behind the header. */
static const uint64_t *ends_of(const sd_texts *t) { return (const uint64_t *)(t + 1); }
static size_t texts_in(const sd_texts *t) { return (size_t)t->texts[0] + t->texts[1]; }
static const int32_t *ids_of(const sd_texts *t) { return (const int32_t *)(ends_of(t) + texts_in(t)); }
static const int32_t *seconds_of(const sd_texts *t) { return ids_of(t) + t->ids; }
static const int32_t *labels_of(const sd_texts *t) { return seconds_of(t) + texts_in(t); }
static const char *names_of(const sd_texts *t) { return (const char *)(labels_of(t) + texts_in(t)); }

sd_text sd_texts_text(const sd_texts *t, bool test, uint32_t index) {
    const size_t i = index + (test ? (size_t)t->texts[0] : 0);
    const uint64_t begin = i > 0 ? ends_of(t)[i - 1] : 0;
    return (sd_text){.ids = ids_of(t) + begin,
                     .length = (int32_t)(ends_of(t)[i] - begin),
                     .second = seconds_of(t)[i],
                     .label = labels_of(t)[i]};
}

const char *sd_texts_class(const sd_texts *t, int label) {
    const char *name = names_of(t);
    for (int c = 0; c < label; c++)
        name += strlen(name) + 1;
    return name;
}

const char *sd_texts_vocabulary(const sd_texts *t) { return names_of(t) + t->name_bytes; }

/* ---- from another rank ---- */

static bool fits(const sd_texts *t, size_t n_bytes) {
    const size_t most = n_bytes / sizeof(int32_t); /* of anything: sums below cannot overflow */
    if (t->ids > most || texts_in(t) > most || t->name_bytes > n_bytes || t->vocabulary_bytes > n_bytes)
        return false;
    return n_bytes == sizeof *t + texts_in(t) * (sizeof(uint64_t) + 2 * sizeof(int32_t)) + t->ids * sizeof(int32_t) +
                          t->name_bytes + t->vocabulary_bytes + 1;
}

static bool names_are_whole(const sd_texts *t) {
    int32_t names = 0;
    for (uint64_t i = 0; i < t->name_bytes; i++)
        names += names_of(t)[i] == '\0';
    return names == t->classes && (t->name_bytes == 0 || names_of(t)[t->name_bytes - 1] == '\0') &&
           sd_texts_vocabulary(t)[t->vocabulary_bytes] == '\0';
}

static bool texts_are_whole(const sd_texts *t) {
    uint64_t begin = 0;
    for (size_t i = 0; i < texts_in(t); i++) {
        const uint64_t end = ends_of(t)[i];
        if (end <= begin || end > t->ids || end - begin > (uint64_t)t->sequence)
            return false;
        if (seconds_of(t)[i] < 1 || (uint64_t)seconds_of(t)[i] > end - begin)
            return false;
        if (labels_of(t)[i] < 0 || labels_of(t)[i] >= (t->classes > 0 ? t->classes : 1))
            return false;
        begin = end;
    }
    for (uint64_t i = 0; i < t->ids; i++)
        if (ids_of(t)[i] < 0 || ids_of(t)[i] >= t->vocabulary)
            return false;
    return begin == t->ids;
}

sd_status sd_texts_of_bytes(void *bytes, size_t n_bytes, sd_found **found) {
    const sd_texts *t = bytes;
    *found = NULL;
    if (n_bytes < sizeof *t || t->found.format != SD_FOUND_TEXTS || t->found.bytes != n_bytes || t->sequence < 1 ||
        !fits(t, n_bytes) || !names_are_whole(t) || !texts_are_whole(t))
        return sd_fail(SD_ERR_DATA, "the texts that rank 0 read came as something else; ranks need one byte order");
    *found = bytes;
    return SD_OK;
}
