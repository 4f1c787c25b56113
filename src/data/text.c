/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of tables (texts.h), as they were found. */
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "texts.h"

typedef struct text_source {
    sd_source source;
    const sd_texts *texts;
} text_source;

static const sd_texts *texts_of(const sd_data_spec *spec) {
    return spec->found && spec->found->format == SD_FOUND_TEXTS ? (const sd_texts *)spec->found : NULL;
}

static sd_text text(const sd_source *source, bool test, uint32_t index) {
    return sd_texts_text(((const text_source *)source)->texts, test, index);
}

static const char *class_name(const sd_source *source, int label) {
    return sd_texts_class(((const text_source *)source)->texts, label);
}

static void close_texts(sd_source *source) { free(source); }

/* Before anything was found, as of a checkpoint's configuration, what this says. */
static sd_sample_spec describe(const sd_data_spec *spec) {
    const sd_texts *texts = texts_of(spec);
    return (sd_sample_spec){.sequence = (int)spec->sequence,
                            .vocabulary = texts ? texts->vocabulary : 0,
                            .classes = texts ? texts->classes : (int)spec->classes};
}

static sd_status open_texts(const sd_data_spec *spec, sd_source **source) {
    const sd_texts *texts = texts_of(spec);
    text_source *opened;
    if (!texts)
        return sd_fail(SD_ERR_INTERNAL, "%s: its texts were not read", spec->path);
    SD_TRY(sd_alloc(&opened, 1, sizeof *opened));
    opened->texts = texts;
    opened->source = (sd_source){.samples = describe(spec),
                                 .n_train = texts->texts[0],
                                 .n_test = texts->texts[1],
                                 .bytes = (size_t)texts->found.bytes,
                                 .hash = texts->hash,
                                 .text = text,
                                 .vocabulary = sd_texts_vocabulary(texts),
                                 .vocabulary_bytes = (size_t)texts->vocabulary_bytes,
                                 .lower_case = texts->lower_case,
                                 .special = texts->special,
                                 .close = close_texts,
                                 .hashed = "texts, labels or vocabulary",
                                 .class_name = class_name};
    *source = &opened->source;
    return SD_OK;
}

const sd_source_kind sd_text_source = {describe, open_texts, sd_texts_find};
