/* SPDX-License-Identifier: Apache-2.0 */
/* Procedural texts, expressions of many-valued logic: data without files, for first runs, timing and tests.
 *
 *     ( ( 0 and 1 ) or not 1 )        values 0..classes-1; and: the lesser, or: the greater, not x: classes-1 - x
 *
 * The class is the value. With two classes this is Boolean logic. What decides may stand at either end: brackets belong
 * together over any distance, and a value is known when those within it are, so that a network needs depth for depth.
 *
 * A text is nested 1 to `depth` deep, each equally often, and has each value equally often: it is written from the
 * value inwards, so that neither its depth nor the outermost word says anything of its value.
 *
 * A text nested d deep has at most 2^(d+2) - 3 words, and two special ones. `depth` is the greatest of which all
 * texts fit into data.sequence: 1 from 8 on, 2 from 15, 3 from 31, 4 from 63, 5 from 127, 6 from 255, 7 from 511.
 *
 * A text is a pure function of (SEED, sample, classes, depth), independent of the run's seed. */
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/hash.h"
#include "sdtrain/random.h"
#include "source.h"

enum { PAD, UNK, CLS, SEP, MASK, OPEN, CLOSE, AND, OR, NOT, VALUE, VOCABULARY = VALUE + 10 };
static const char WORDS[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n(\n)\nand\nor\nnot\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";

enum {
    SEED = 20190925,
    DEFAULT_CLASSES = 2,
    MOST_CLASSES = VOCABULARY - VALUE,
    DEFAULT_TRAIN = 20000,
    DEFAULT_TEST = 2000,
};
static const uint32_t TEST_OFFSET = 0x80000000u; /* test sample i is sample i + 2^31 */

/* ---- one text ---- */

typedef struct expression {
    int classes;
    uint32_t sample, draws; /* random words so far */
    int32_t *ids;           /* NULL: only counted */
    int32_t length;
} expression;

static int draw(expression *e, int sides) {
    const uint32_t n = e->draws++;
    return (int)sd_random_index(sd_random_at(SEED, SD_STREAM_SYNTHETIC, e->sample, n / 4).word[n % 4], (uint64_t)sides);
}

static void put(expression *e, int32_t id) {
    if (e->ids)
        e->ids[e->length] = id;
    e->length++;
}

/* Something of this value that is nested exactly so deep. */
static void write_value(expression *e, int value, int depth) {
    if (depth == 0) {
        put(e, VALUE + value);
        return;
    }
    if (draw(e, 4) == 0) {
        put(e, NOT);
        write_value(e, e->classes - 1 - value, depth - 1);
        return;
    }
    const bool is_and = draw(e, 2);
    const int other = is_and ? value + draw(e, e->classes - value) : draw(e, value + 1);
    const int shallow = draw(e, depth), deep_side = draw(e, 2), other_side = draw(e, 2);
    put(e, OPEN);
    for (int side = 0; side < 2; side++) {
        write_value(e, side == other_side ? other : value, side == deep_side ? depth - 1 : shallow);
        put(e, side ? CLOSE : is_and ? AND : OR);
    }
}

/* What a network reads of a text; returns its value. ids: [length], or NULL. */
static int32_t write_text(int classes, int depth, uint32_t sample, int32_t *ids, int32_t *length) {
    expression e = {.classes = classes, .sample = sample, .ids = ids};
    const int nested = 1 + draw(&e, depth), value = draw(&e, classes);
    put(&e, CLS);
    write_value(&e, value, nested);
    put(&e, SEP);
    *length = e.length;
    return value;
}

/* ---- all texts ---- */

typedef struct synthetic_texts {
    sd_source source;
    sd_text *texts; /* [n_train + n_test] */
    int32_t *ids;   /* of all texts */
} synthetic_texts;

static int depth_of(int sequence) {
    int depth = 1;
    while (depth < 16 && (4 << (depth + 1)) - 1 <= sequence)
        depth++;
    return depth;
}

/* Writes all texts, one behind the other; returns how long they are together. ids: NULL: they are only counted. */
static size_t write_texts(synthetic_texts *s, int32_t *ids) {
    const sd_source *source = &s->source;
    const int classes = source->samples.classes, depth = depth_of(source->samples.sequence);
    const size_t n = (size_t)source->n_train + source->n_test;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t sample = i < source->n_train ? (uint32_t)i : (uint32_t)(i - source->n_train) + TEST_OFFSET;
        int32_t *to = ids ? ids + at : NULL, length;
        const int32_t label = write_text(classes, depth, sample, to, &length);
        s->texts[i] = (sd_text){.ids = to, .length = length, .second = length, .label = label};
        at += (size_t)length;
    }
    return at;
}

static sd_status make_texts(synthetic_texts *s) {
    const size_t n = (size_t)s->source.n_train + s->source.n_test;
    SD_TRY(sd_alloc(&s->texts, n, sizeof *s->texts));
    const size_t ids = write_texts(s, NULL);
    SD_TRY(sd_alloc(&s->ids, ids, sizeof *s->ids));
    write_texts(s, s->ids);
    s->source.bytes = n * sizeof *s->texts + ids * sizeof *s->ids;
    return SD_OK;
}

static sd_text text_of(const sd_source *source, bool test, uint32_t index) {
    return ((const synthetic_texts *)source)->texts[index + (test ? (size_t)source->n_train : 0)];
}

static const char *class_name(const sd_source *source, int label) {
    static const char names[MOST_CLASSES][2] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    (void)source;
    return names[label];
}

static void close_texts(sd_source *source) {
    synthetic_texts *s = (synthetic_texts *)source;
    free(s->texts);
    free(s->ids);
    free(s);
}

static sd_sample_spec describe(const sd_data_spec *spec) {
    return (sd_sample_spec){.sequence = (int)spec->sequence,
                            .vocabulary = VOCABULARY,
                            .classes = spec->classes > 0 ? (int)spec->classes : DEFAULT_CLASSES};
}

static sd_status open_texts(const sd_data_spec *spec, sd_source **source) {
    if (spec->classes == 1 || spec->classes > MOST_CLASSES)
        return sd_fail(SD_ERR_CONFIG, "model.classes: synthetic texts have 2 to %d classes, not %lld", MOST_CLASSES,
                       (long long)spec->classes);
    if (spec->sequence < 8)
        return sd_fail(SD_ERR_CONFIG, "data.sequence: synthetic texts need at least 8, not %lld",
                       (long long)spec->sequence);
    const int64_t train = (spec->train_samples > 0 ? spec->train_samples : DEFAULT_TRAIN) +
                          spec->validation; /* held-out texts are further ones */
    const int64_t test = spec->val_samples > 0 ? spec->val_samples : DEFAULT_TEST;
    if (train >= TEST_OFFSET || test >= TEST_OFFSET)
        return sd_fail(SD_ERR_CONFIG, "data.%s: at most %u synthetic texts can be made, not %lld",
                       train >= TEST_OFFSET ? "train_samples" : "val_samples", TEST_OFFSET - 1,
                       (long long)(train >= TEST_OFFSET ? train : test));
    synthetic_texts *s;
    SD_TRY(sd_alloc(&s, 1, sizeof *s));
    s->source = (sd_source){.samples = describe(spec),
                            .n_train = (uint32_t)train,
                            .n_test = (uint32_t)test,
                            .text = text_of,
                            .vocabulary = WORDS,
                            .vocabulary_bytes = sizeof WORDS - 1,
                            .lower_case = spec->lower_case,
                            .padding = PAD,
                            .close = close_texts,
                            .hashed = "data.sequence or model.classes",
                            .class_name = class_name};
    const int of[] = {SEED, s->source.samples.sequence, s->source.samples.classes};
    s->source.hash = sd_hash(of, sizeof of);
    const sd_status status = make_texts(s);
    if (status == SD_OK)
        *source = &s->source;
    else
        close_texts(&s->source);
    return status;
}

const sd_source_kind sd_synthetic_text_source = {describe, open_texts, NULL};
