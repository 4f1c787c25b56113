/* SPDX-License-Identifier: Apache-2.0 */
/* From tables and a vocabulary to ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "label_names.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "sdtrain/hash.h"
#include "sdtrain/tokenizer.h"
#include "text_columns.h"
#include "texts.h"

enum { PATH_BYTES = 4096, MOST_VOCABULARY_BYTES = 1 << 26, MOST_LIST_BYTES = 1 << 24 };

/* Bytes that grow. */
typedef struct store {
    char *bytes;
    size_t n, capacity;
} store;

static sd_status append(store *s, const void *bytes, size_t n) {
    if (n > s->capacity - s->n) {
        const size_t capacity = s->capacity * 2 + n;
        char *grown = realloc(s->bytes, capacity);
        if (!grown)
            return sd_fail(SD_ERR_MEMORY, "out of memory: %zu bytes of texts were needed", capacity);
        s->bytes = grown;
        s->capacity = capacity;
    }
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
    return SD_OK;
}

/* What is read, until it is one piece. */
typedef struct reading {
    const sd_data_spec *spec;
    char vocabulary_path[PATH_BYTES], list_path[PATH_BYTES], table_path[2][PATH_BYTES];
    char *vocabulary, *list; /* contents; list: of classes.txt, NULL without one */
    size_t vocabulary_bytes, list_bytes;
    sd_tokenizer *tokenizer;
    int32_t *sample; /* [sequence] */
    store ends, ids, seconds, labels, names;
    uint32_t texts[2];
    sd_label_names names_of_labels;
    int32_t classes;
} reading;

static void reading_free(reading *r) {
    free(r->vocabulary);
    free(r->list);
    sd_tokenizer_free(&r->tokenizer);
    free(r->sample);
    free(r->ends.bytes);
    free(r->ids.bytes);
    free(r->seconds.bytes);
    free(r->labels.bytes);
    free(r->names.bytes);
}

/* ---- which files ---- */

static bool is_there(const reading *r, const char *name, const char *extension, char path[PATH_BYTES]) {
    const int n = snprintf(path, PATH_BYTES, "%s/%s.%s", r->spec->path, name, extension);
    return n < PATH_BYTES && access(path, F_OK) == 0;
}

/* The table of the first of these names. path: "" if there is none. */
static sd_status find_table(const reading *r, const char *const *names, char path[PATH_BYTES]) {
    for (; *names; names++) {
        char other[PATH_BYTES];
        const bool csv = is_there(r, *names, "csv", other), tsv = is_there(r, *names, "tsv", path);
        if (csv && tsv)
            return sd_fail(SD_ERR_DATA, "%s: both %s.tsv and %s.csv are there; keep one", r->spec->path, *names,
                           *names);
        if (csv)
            memcpy(path, other, PATH_BYTES);
        if (csv || tsv)
            return SD_OK;
    }
    path[0] = '\0';
    return SD_OK;
}

static sd_status find_tables(reading *r) {
    static const char *const train[] = {"train", NULL}, *const test[] = {"validation", "valid", "val",
                                                                         "dev",        "test",  NULL};
    SD_TRY(find_table(r, train, r->table_path[0]));
    if (!r->table_path[0][0])
        return sd_fail(SD_ERR_NOINPUT,
                       "%s: there is no train.tsv or train.csv; data.path names the folder of the tables",
                       r->spec->path);
    if (r->spec->validation > 0)
        return SD_OK;
    SD_TRY(find_table(r, test, r->table_path[1]));
    if (!r->table_path[1][0])
        return sd_fail(
            SD_ERR_NOINPUT,
            "%s: there is no validation, valid, val, dev or test .tsv or .csv; data.validation = N holds out "
            "N training texts",
            r->spec->path);
    return SD_OK;
}

static sd_status read_vocabulary(reading *r) {
    const bool given = r->spec->vocab && r->spec->vocab[0];
    if (given)
        snprintf(r->vocabulary_path, PATH_BYTES, "%s", r->spec->vocab);
    else if (!is_there(r, "vocab", "txt", r->vocabulary_path))
        return sd_fail(
            SD_ERR_CONFIG,
            "data.vocab: there is none, and no vocab.txt in %s; sdtrain vocab makes one of the training texts",
            r->spec->path);
    SD_TRY(sd_file_get(r->vocabulary_path, MOST_VOCABULARY_BYTES, &r->vocabulary, &r->vocabulary_bytes));
    return sd_tokenizer_create(r->vocabulary, r->vocabulary_bytes, r->vocabulary_path, r->spec->lower_case,
                               &r->tokenizer);
}

static sd_status read_list(reading *r) {
    if (!is_there(r, "classes", "txt", r->list_path))
        return SD_OK;
    SD_TRY(sd_file_get(r->list_path, MOST_LIST_BYTES, &r->list, &r->list_bytes));
    return sd_label_list_check(r->list_path, r->list, r->list_bytes);
}

/* ---- one table ---- */

static sd_status take_text(reading *r, const sd_table_row *row, const sd_text_columns *columns) {
    const sd_cell *a = &row->cell[columns->text[0]], *b = columns->n > 1 ? &row->cell[columns->text[1]] : NULL;
    int32_t length, second;
    SD_TRY(sd_tokenize_sample(r->tokenizer, a->text, a->bytes, b ? b->text : NULL, b ? b->bytes : 0,
                              (int)r->spec->sequence, r->sample, &length, &second));
    SD_TRY(append(&r->ids, r->sample, (size_t)length * sizeof *r->sample));
    const uint64_t end = r->ids.n / sizeof *r->sample;
    SD_TRY(append(&r->ends, &end, sizeof end));
    return append(&r->seconds, &second, sizeof second);
}

/* labels, lines: one of each row. */
static sd_status read_rows(reading *r, sd_table *table, bool test, store *labels, store *lines) {
    sd_text_columns columns;
    sd_table_row row;
    bool end;
    SD_TRY(sd_table_next(table, &row, &end));
    if (end)
        return sd_fail(SD_ERR_DATA, "%s: it is empty; texts and labels were expected, a row each", table->path);
    SD_TRY(sd_text_columns_find(r->spec, table->path, &row, &columns));
    if (columns.header)
        SD_TRY(sd_table_next(table, &row, &end));
    for (; !end; r->texts[test]++) {
        const sd_cell *label = &row.cell[columns.label];
        if (label->bytes == 0)
            return sd_fail(SD_ERR_DATA, "%s:%llu: the label, column %d, is empty", table->path,
                           (unsigned long long)row.line, columns.label + 1);
        if (r->texts[test] == UINT32_MAX)
            return sd_fail(SD_ERR_DATA, "%s: more than %u texts", table->path, UINT32_MAX);
        SD_TRY(take_text(r, &row, &columns));
        SD_TRY(append(labels, label, sizeof *label));
        SD_TRY(append(lines, &row.line, sizeof row.line));
        SD_TRY(sd_table_next(table, &row, &end));
    }
    if (r->texts[test] == 0)
        return sd_fail(SD_ERR_DATA, "%s: there is no row behind the one with the names of columns", table->path);
    return SD_OK;
}

static sd_status unknown_label(const reading *r, bool test, const sd_cell *label, uint64_t line) {
    const int shown = label->bytes < 64 ? (int)label->bytes : 64;
    return sd_fail(SD_ERR_DATA, "%s:%llu: the label '%.*s' is none of %s", r->table_path[test],
                   (unsigned long long)line, shown, label->text,
                   r->list ? r->list_path : "those in the training texts");
}

static sd_status name_classes(reading *r) {
    for (int c = 0; c < r->names_of_labels.classes; c++) {
        SD_TRY(append(&r->names, r->names_of_labels.name[c], r->names_of_labels.name_bytes[c]));
        SD_TRY(append(&r->names, "", 1));
    }
    return SD_OK;
}

/* The classes are those of the training table, whose labels outlive the names that point to them here. */
static sd_status take_labels(reading *r, bool test, const store *labels, const store *lines) {
    const sd_cell *label = (const sd_cell *)labels->bytes;
    const uint64_t *line = (const uint64_t *)lines->bytes;
    int64_t unknown;
    if (!test) {
        const sd_status status =
            sd_label_names_make(r->texts[0], label, r->list, r->list_bytes, &r->names_of_labels, &unknown);
        if (unknown >= 0)
            return unknown_label(r, test, &label[unknown], line[unknown]);
        SD_TRY(status);
        r->classes = r->names_of_labels.classes;
        SD_TRY(name_classes(r));
    }
    for (uint32_t i = 0; i < r->texts[test]; i++) {
        const int32_t class = sd_label_class(&r->names_of_labels, &label[i]);
        if (class < 0)
            return unknown_label(r, test, &label[i], line[i]);
        SD_TRY(append(&r->labels, &class, sizeof class));
    }
    return SD_OK;
}

static sd_status read_table(reading *r, sd_table *table, bool test) {
    store labels = {0}, lines = {0};
    sd_status status = sd_table_open(r->table_path[test], table);
    if (status == SD_OK)
        status = read_rows(r, table, test, &labels, &lines);
    if (status == SD_OK)
        status = take_labels(r, test, &labels, &lines);
    free(labels.bytes);
    free(lines.bytes);
    return status;
}

static sd_status read_tables(reading *r) {
    sd_table train = {0}, test = {0};
    sd_status status = read_table(r, &train, false);
    if (status == SD_OK && r->table_path[1][0])
        status = read_table(r, &test, true);
    sd_label_names_free(&r->names_of_labels);
    sd_table_close(&test);
    sd_table_close(&train);
    return status;
}

/* ---- one piece ---- */

static sd_status join(const reading *r, sd_found **found) {
    const store *const parts[] = {&r->ends, &r->ids, &r->seconds, &r->labels, &r->names};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    size_t bytes = sizeof(sd_texts) + r->vocabulary_bytes + 1;
    sd_texts *texts;
    for (int i = 0; i < PARTS; i++)
        bytes += parts[i]->n;
    SD_TRY(sd_alloc(&texts, bytes, 1));
    *texts = (sd_texts){.found = {SD_FOUND_TEXTS, bytes},
                        .ids = r->ids.n / sizeof(int32_t),
                        .name_bytes = r->names.n,
                        .vocabulary_bytes = r->vocabulary_bytes,
                        .texts = {r->texts[0], r->texts[1]},
                        .classes = r->classes,
                        .vocabulary = sd_tokenizer_size(r->tokenizer),
                        .sequence = (int32_t)r->spec->sequence,
                        .padding = sd_tokenizer_special(r->tokenizer)->pad,
                        .lower_case = r->spec->lower_case};
    char *to = (char *)(texts + 1);
    for (int i = 0; i < PARTS; i++) {
        memcpy(to, parts[i]->bytes, parts[i]->n);
        to += parts[i]->n;
    }
    memcpy(to, r->vocabulary, r->vocabulary_bytes);
    const uint64_t hashes[] = {sd_hash(texts + 1, bytes - sizeof *texts), (uint64_t)texts->sequence,
                               (uint64_t)texts->lower_case, texts->texts[0]};
    texts->hash = sd_hash(hashes, sizeof hashes);
    *found = &texts->found;
    return SD_OK;
}

static sd_status find(reading *r, sd_found **found) {
    SD_TRY(find_tables(r));
    SD_TRY(read_vocabulary(r));
    SD_TRY(read_list(r));
    SD_TRY(sd_alloc(&r->sample, (size_t)r->spec->sequence, sizeof *r->sample));
    SD_TRY(read_tables(r));
    return join(r, found);
}

sd_status sd_texts_find(const sd_data_spec *spec, sd_found **found) {
    reading *r;
    SD_TRY(sd_alloc(&r, 1, sizeof *r));
    r->spec = spec;
    const sd_status status = find(r, found);
    reading_free(r);
    free(r);
    return status;
}
