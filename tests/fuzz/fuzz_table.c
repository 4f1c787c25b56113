/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of texts: refused with file and line, or read as they stand, and then as a data set: every label one of its
 * classes, every id one of its vocabulary, and what another rank gets the same.
 *
 *     input: options (1 byte), bytes of the list of classes (1), share of the validation table in 1/256 (1), then the
 *            list, the training table and the validation table */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/data/table.h"
#include "../../src/data/texts.h"
#include "fuzz.h"
#include "sdtrain/tokenizer.h"

enum { PATH_BYTES = 512, HEADER_BYTES = 3, SEQUENCE = 8 };
enum { CSV = 1, LISTED = 2, HELD_OUT = 4, BY_NUMBER = 8, PAIR = 16 }; /* options */

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n,\n\"\n";

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const struct {
        uint8_t options, list_bytes, share;
        const char *content;
    } seeds[] = {
        {0, 0, 128, "sentence\tlabel\na b\t0\nab\t1\nsentence\tlabel\na\t1\nabb\t0\n"},
        {CSV, 0, 100, "text,label\r\n\"a, \"\"b\"\"\nc\",x\r\n,y\r\ntext,label\r\na,\"x\"\r\n"},
        {HELD_OUT, 0, 0, "\xef\xbb\xbftext\tclass\n\n\xc3\xa9\t-1\na\t10\nb\t9\n"},
        {CSV | BY_NUMBER | PAIR | HELD_OUT, 0, 0, "\"a\",\"b\nb\",1\n\"\"\"\",b,2\n"},
        {LISTED | HELD_OUT, 5, 0, "x\r\ny\ntext\tlabel\na\ty\nb\tx\n"},
        {LISTED | BY_NUMBER | HELD_OUT, 4, 0, "x\ny\na\tb\t1\nb\ta\t2\n"},
    };
    if ((size_t)i >= sizeof seeds / sizeof seeds[0])
        return false;
    const size_t content = strlen(seeds[i].content);
    *n = HEADER_BYTES + content;
    *bytes = malloc(*n);
    (*bytes)[0] = seeds[i].options;
    (*bytes)[1] = seeds[i].list_bytes;
    (*bytes)[2] = seeds[i].share;
    memcpy(*bytes + HEADER_BYTES, seeds[i].content, content);
    return true;
}

/* ---- what is refused ---- */

/* "PATH:LINE: ...", or what says that a file as a whole is no table. */
static void require_place(const char *path, const char *bytes, size_t n) {
    uint64_t lines = 1;
    const char *message = sd_error_message(), *place = strstr(message, path);
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    fuzz_require(place, "the message does not name %s: %s", path, message);
    place += strlen(path);
    if (*place != ':' || place[1] < '0' || place[1] > '9')
        return;
    const unsigned long long line = strtoull(place + 1, NULL, 10);
    fuzz_require(line >= 1 && line <= lines, "a table of %llu lines, and this: %s", (unsigned long long)lines, message);
}

/* ---- a table alone ---- */

static uint64_t line_of(const char *bytes, size_t at) {
    uint64_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += bytes[i] == '\n';
    return line;
}

/* Takes, from at on, what says a column of CSV (the shortest way or with quotes) or TSV; returns where it ends. */
static size_t take_column(const char *bytes, size_t n, size_t at, bool csv, const sd_cell *cell) {
    if (!csv || at == n || bytes[at] != '"') {
        fuzz_require(cell->bytes <= n - at && !memcmp(bytes + at, cell->text, cell->bytes), "not what stands there");
        fuzz_require(!memchr(cell->text, csv ? ',' : '\t', cell->bytes), "a separator within");
        return at + cell->bytes;
    }
    at++;
    for (size_t i = 0; i < cell->bytes; i++, at++) {
        fuzz_require(at < n && bytes[at] == cell->text[i], "not what stands within quotes");
        if (bytes[at] == '"')
            fuzz_require(++at < n && bytes[at] == '"', "a quote within is not said by two");
    }
    fuzz_require(at < n && bytes[at] == '"', "the quote is not closed");
    return at + 1;
}

static size_t take_end_of_line(const char *bytes, size_t n, size_t at) {
    if (at + 1 < n && bytes[at] == '\r' && bytes[at + 1] == '\n')
        return at + 2;
    fuzz_require(at == n || bytes[at] == '\n', "a row ends within a line");
    return at < n ? at + 1 : n;
}

static size_t take_empty_lines(const char *bytes, size_t n, size_t at) {
    for (;; at++) {
        if (at + 1 < n && bytes[at] == '\r' && bytes[at + 1] == '\n')
            at++;
        else if (at == n || bytes[at] != '\n')
            return at;
    }
}

/* The rows that are read are, one after the other, all that the file says. */
static sd_status read_table(const char *path, const char *bytes, size_t n, bool csv) {
    sd_table table;
    sd_table_row row;
    bool end = false;
    int columns = 0;
    size_t at = n >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
    sd_status status = sd_table_open(path, &table);
    if (status == SD_OK)
        fuzz_require(sd_utf8_check(bytes, n, NULL) && !memchr(bytes, '\0', n), "a file that is no text is opened");
    while (status == SD_OK && (status = sd_table_next(&table, &row, &end)) == SD_OK && !end) {
        at = take_empty_lines(bytes, n, at);
        fuzz_require(row.line == line_of(bytes, at), "line %llu, not %llu", (unsigned long long)row.line,
                     (unsigned long long)line_of(bytes, at));
        fuzz_require(row.columns >= 1 && (columns == 0 || row.columns == columns), "%d columns", row.columns);
        columns = row.columns;
        for (int i = 0; i < columns; i++) {
            if (i > 0)
                fuzz_require(at < n && bytes[at++] == (csv ? ',' : '\t'), "no separator");
            at = take_column(bytes, n, at, csv, &row.cell[i]);
            fuzz_require(sd_utf8_check(row.cell[i].text, row.cell[i].bytes, NULL), "a column is no text");
        }
        at = take_end_of_line(bytes, n, at);
    }
    if (end)
        fuzz_require(take_empty_lines(bytes, n, at) == n, "%zu of %zu bytes are read", at, n);
    sd_table_close(&table);
    if (status != SD_OK) {
        fuzz_require(status == SD_ERR_DATA, "status %d: %s", (int)status, sd_error_message());
        require_place(path, bytes, n);
    }
    return status;
}

/* ---- a data set ---- */

static void require_whole(const sd_texts *texts) {
    for (int test = 0; test < 2; test++)
        for (uint32_t i = 0; i < texts->texts[test]; i++) {
            const sd_text text = sd_texts_text(texts, test, i);
            fuzz_require(text.length >= 2 && text.length <= SEQUENCE, "text %u has %d ids", i, (int)text.length);
            fuzz_require(text.second >= 1 && text.second <= text.length, "a second text at %d", (int)text.second);
            fuzz_require(text.label >= 0 && text.label < texts->classes, "label %d", (int)text.label);
            for (int32_t t = 0; t < text.length; t++)
                fuzz_require(text.ids[t] >= 0 && text.ids[t] < texts->vocabulary, "id %d", (int)text.ids[t]);
        }
}

static void require_same_elsewhere(const sd_found *found) {
    const void *bytes;
    size_t n;
    sd_found *got;
    sd_found_bytes(found, &bytes, &n);
    void *copy = malloc(n);
    memcpy(copy, bytes, n);
    fuzz_require(sd_found_of_bytes(copy, n, &got) == SD_OK, "another rank refuses it: %s", sd_error_message());
    sd_found_free(&got);
}

static void read_data_set(const char *path, uint8_t options, int readable) {
    sd_data_spec spec = {.kind = SD_DATASET_TEXT,
                         .path = path,
                         .sequence = SEQUENCE,
                         .lower_case = true,
                         .text_columns = options & BY_NUMBER ? options & PAIR ? "1,2" : "1" : "",
                         .label_column = options & BY_NUMBER ? options & PAIR ? "3" : "2" : "",
                         .validation = options & HELD_OUT ? 1 : 0};
    sd_found *found = NULL;
    sd_error_clear();
    sd_status status = sd_data_find(&spec, &found);
    fuzz_require((status == SD_OK) == (found != NULL), "texts, and status %d", (int)status);
    fuzz_require(status == SD_OK || status == SD_ERR_DATA || status == SD_ERR_CONFIG, "status %d: %s", (int)status,
                 sd_error_message());
    fuzz_require(status != SD_OK || readable, "a table that is refused alone is taken");
    if (status != SD_OK) {
        fuzz_require(*sd_error_message(), "there is no message");
        return;
    }
    sd_dataset *dataset;
    require_whole((const sd_texts *)found);
    require_same_elsewhere(found);
    spec.found = found;
    status = sd_dataset_open(&spec, &dataset);
    fuzz_require(status == SD_OK || status == SD_ERR_CONFIG, "status %d: %s", (int)status, sd_error_message());
    sd_dataset_close(&dataset);
    sd_found_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < HEADER_BYTES)
        return 0;
    const uint8_t options = bytes[0];
    const char *const content = (const char *)bytes + HEADER_BYTES;
    const size_t rest = n - HEADER_BYTES, list = options & LISTED ? bytes[1] < rest ? bytes[1] : rest : 0;
    const size_t test = options & HELD_OUT ? 0 : (rest - list) * bytes[2] / 256, train = rest - list - test;
    const bool csv = options & CSV;
    char folder[PATH_BYTES / 2], path[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", fuzz_folder());
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    fuzz_write(path, vocabulary, sizeof vocabulary - 1);
    snprintf(path, sizeof path, "%s/classes.txt", folder);
    unlink(path);
    if (options & LISTED)
        fuzz_write(path, content, list);
    for (int other = 0; other < 2; other++) {
        snprintf(path, sizeof path, "%s/%s.%s", folder, other ? "dev" : "train", csv ? "tsv" : "csv");
        unlink(path);
    }
    bool readable = true;
    snprintf(path, sizeof path, "%s/train.%s", folder, csv ? "csv" : "tsv");
    fuzz_write(path, content + list, train);
    sd_error_clear();
    readable &= read_table(path, content + list, train, csv) == SD_OK;
    snprintf(path, sizeof path, "%s/dev.%s", folder, csv ? "csv" : "tsv");
    fuzz_write(path, content + list + train, test);
    sd_error_clear();
    readable &= read_table(path, content + list + train, test, csv) == SD_OK;
    read_data_set(folder, options, readable);
    return 0;
}
