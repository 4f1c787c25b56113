/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sdtrain/tokenizer.h"
#include "sdtrain/vocabulary.h"
#include "text_columns.h"

/* ---- lines ---- */

static sd_status add_lines(sd_vocabulary *vocabulary, const char *path, FILE *file, char **line, uint64_t *lines) {
    size_t capacity = 0, bad;
    for (ssize_t n; errno = 0, (n = getline(line, &capacity, file)) >= 0;) {
        ++*lines;
        if (!sd_utf8_check(*line, (size_t)n, &bad))
            return sd_fail(SD_ERR_DATA, "%s:%llu: byte %zu of the line is no UTF-8; texts are expected", path,
                           (unsigned long long)*lines, bad + 1);
        SD_TRY(sd_vocabulary_add(vocabulary, *line, (size_t)n));
    }
    if (errno == ENOMEM)
        return sd_fail(SD_ERR_MEMORY, "%s:%llu: out of memory for a line", path, (unsigned long long)*lines + 1);
    return ferror(file) ? sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno)) : SD_OK;
}

static sd_status add_file_of_lines(sd_vocabulary *vocabulary, const char *path, uint64_t *lines) {
    char *line = NULL;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    const sd_status status = add_lines(vocabulary, path, file, &line, lines);
    free(line);
    fclose(file);
    return status;
}

/* ---- tables ---- */

static sd_status add_row(sd_vocabulary *vocabulary, const sd_table_row *row, const sd_text_columns *columns) {
    for (int i = 0; i < columns->n; i++) {
        const sd_cell *cell = &row->cell[columns->text[i]];
        SD_TRY(sd_vocabulary_add(vocabulary, cell->text, cell->bytes));
    }
    return SD_OK;
}

static sd_status add_rows(sd_vocabulary *vocabulary, sd_table *table, const char *names, uint64_t *rows) {
    sd_text_columns columns;
    sd_table_row row;
    bool end;
    SD_TRY(sd_table_next(table, &row, &end));
    if (end)
        return SD_OK;
    SD_TRY(sd_text_columns_find_texts("--text-columns", names, table->path, &row, &columns));
    if (columns.header)
        SD_TRY(sd_table_next(table, &row, &end));
    for (; !end; ++*rows) {
        SD_TRY(add_row(vocabulary, &row, &columns));
        SD_TRY(sd_table_next(table, &row, &end));
    }
    return SD_OK;
}

static sd_status add_table(sd_vocabulary *vocabulary, const char *path, const char *names, uint64_t *rows) {
    sd_table table;
    sd_status status = sd_table_open(path, &table);
    if (status == SD_OK)
        status = add_rows(vocabulary, &table, names, rows);
    sd_table_close(&table);
    return status;
}

sd_status sd_vocabulary_add_file(sd_vocabulary *vocabulary, const char *path, const char *text_columns,
                                 uint64_t *texts) {
    const char *dot = strrchr(path, '.');
    *texts = 0;
    return text_columns || (dot && (!strcasecmp(dot, ".tsv") || !strcasecmp(dot, ".csv")))
               ? add_table(vocabulary, path, text_columns, texts)
               : add_file_of_lines(vocabulary, path, texts);
}
