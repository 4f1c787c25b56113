/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the texts of a data set as ids, in one piece of memory, so that one rank reads and tokenises the
 * files and sends the others this. */
#ifndef SDTRAIN_DATA_TEXTS_H
#define SDTRAIN_DATA_TEXTS_H

#include <stdbool.h>

#include "source.h"

typedef struct sd_texts {
    sd_found found; /* SD_FOUND_TEXTS */
    uint64_t hash;  /* of all behind it, and of this header's numbers */
    uint64_t ids;   /* of all texts */
    uint64_t name_bytes, vocabulary_bytes;
    uint32_t texts[2]; /* training, test */
    int32_t classes;   /* 0: labels are not read, and are zeros */
    int32_t vocabulary, sequence, lower_case;
    sd_special_tokens special;
    uint32_t reserved;
    /* Behind it: ends u64 [texts] of each text among the ids, training texts first; ids, seconds, labels i32; names of
     * classes, each with a zero behind it; the vocabulary with a zero behind it. */
} sd_texts;

/* Reads and tokenises the tables of spec's folder. SD_ERR_CONFIG (the message begins with its key), SD_ERR_NOINPUT,
 * SD_ERR_DATA (file and line), SD_ERR_MEMORY. */
sd_status sd_texts_find(const sd_data_spec *spec, sd_found **found);

/* As sd_found_of_bytes(). */
sd_status sd_texts_of_bytes(void *bytes, size_t n_bytes, sd_found **found);

sd_text sd_texts_text(const sd_texts *texts, bool test, uint32_t index);
const char *sd_texts_class(const sd_texts *texts, int label);
const char *sd_texts_vocabulary(const sd_texts *texts);

#endif
