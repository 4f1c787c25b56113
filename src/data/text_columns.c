/* SPDX-License-Identifier: Apache-2.0 */
#include "text_columns.h"

#include <stdio.h>
#include <string.h>

enum { NAMES_BYTES = 256 };

static bool is_number(const char *text, size_t bytes, int *number) {
    *number = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || *number > SD_TABLE_MOST_COLUMNS)
            return false;
        *number = 10 * *number + (text[i] - '0');
    }
    return bytes > 0;
}

/* Cuts "a, b" into its parts. Returns how many there are, at most + 1 of them. */
static int split(const char *text, int most, sd_cell *part) {
    int n = 0;
    for (const char *at = text; text[0] && n <= most; n++) {
        const size_t bytes = strcspn(at, ",");
        const char *begin = at + strspn(at, " \t"), *end = at + bytes;
        while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        if (n < most)
            part[n] = (sd_cell){begin, begin < end ? (size_t)(end - begin) : 0};
        if (!at[bytes])
            return n + 1;
        at += bytes + 1;
    }
    return n;
}

sd_status sd_text_columns_check(const char *key, const char *text, int most) {
    sd_cell part[2];
    int number[2] = {0};
    const int n = split(text, most, part);
    if (n > most)
        return sd_fail(SD_ERR_CONFIG, "%s: %s has more than %d name%s", key, text, most, most == 1 ? "" : "s");
    int numbers = 0;
    for (int i = 0; i < n; i++) {
        if (part[i].bytes == 0)
            return sd_fail(SD_ERR_CONFIG, "%s: %s has an empty name", key, text);
        numbers += is_number(part[i].text, part[i].bytes, &number[i]);
    }
    if (numbers > 0 && numbers < n)
        return sd_fail(SD_ERR_CONFIG, "%s: %s has a name and a number; names are for tables with a first row of names",
                       key, text);
    for (int i = 0; i < numbers; i++)
        if (number[i] < 1 || number[i] > SD_TABLE_MOST_COLUMNS)
            return sd_fail(SD_ERR_CONFIG, "%s: %s: columns are numbered from 1 to %d", key, text,
                           SD_TABLE_MOST_COLUMNS);
    return SD_OK;
}

/* ---- in a table ---- */

static bool is_called(const sd_cell *cell, const char *name, size_t bytes) {
    return cell->bytes == bytes && !memcmp(cell->text, name, bytes);
}

/* The column of that name; -1: none. */
static int column_called(const sd_table_row *first, const char *name, size_t bytes) {
    for (int i = 0; i < first->columns; i++)
        if (is_called(&first->cell[i], name, bytes))
            return i;
    return -1;
}

/* The first row, for messages: "a, b, c". */
static const char *names_in(const sd_table_row *first, char text[NAMES_BYTES]) {
    size_t used = 0;
    for (int i = 0; i < first->columns && used + 40 < NAMES_BYTES; i++) {
        const int shown = first->cell[i].bytes < 32 ? (int)first->cell[i].bytes : 32;
        used +=
            (size_t)snprintf(text + used, NAMES_BYTES - used, "%s'%.*s'", i ? ", " : "", shown, first->cell[i].text);
    }
    return text;
}

/* A part of a key: a number or a name. */
static sd_status find_part(const char *path, const sd_table_row *first, const char *key, const sd_cell *part,
                           int *column, bool *by_name) {
    char names[NAMES_BYTES];
    int number;
    *by_name = !is_number(part->text, part->bytes, &number);
    *column = *by_name ? column_called(first, part->text, part->bytes) : number - 1;
    if (*column >= 0 && *column < first->columns)
        return SD_OK;
    if (*by_name)
        return sd_fail(SD_ERR_DATA, "%s:%llu: no column is called '%.*s' (%s); the row has %s", path,
                       (unsigned long long)first->line, (int)part->bytes, part->text, key, names_in(first, names));
    return sd_fail(SD_ERR_DATA, "%s:%llu: there is no column %d (%s); the row has %d", path,
                   (unsigned long long)first->line, number, key, first->columns);
}

static sd_status find_usual_texts(const char *key, const char *path, const sd_table_row *first,
                                  sd_text_columns *columns) {
    static const char *const usual[] = {"sentence", "text"};
    char names[NAMES_BYTES];
    columns->header = true;
    columns->n = 1;
    for (int i = 0; i < 2; i++)
        if ((columns->text[0] = column_called(first, usual[i], strlen(usual[i]))) >= 0)
            return SD_OK;
    columns->n = 2;
    columns->text[0] = column_called(first, "sentence1", 9);
    columns->text[1] = column_called(first, "sentence2", 9);
    if (columns->text[0] >= 0 && columns->text[1] >= 0)
        return SD_OK;
    return sd_fail(SD_ERR_CONFIG,
                   "%s: the first row of %s names no column sentence or text, nor sentence1 and sentence2; "
                   "say the names, or the numbers from 1 of a table without names; the row has %s",
                   key, path, names_in(first, names));
}

static sd_status find_usual_label(const char *path, const sd_table_row *first, sd_text_columns *columns) {
    static const char *const usual[] = {"label", "labels", "class", "category"};
    char names[NAMES_BYTES];
    for (int i = 0; columns->header && i < 4; i++)
        if ((columns->label = column_called(first, usual[i], strlen(usual[i]))) >= 0)
            return SD_OK;
    return sd_fail(SD_ERR_CONFIG, "data.label_column: %s; the first row of %s has %s",
                   columns->header ? "no column is called label, labels, class or category"
                                   : "it must be said where data.text_columns are numbers",
                   path, names_in(first, names));
}

sd_status sd_text_columns_find_texts(const char *key, const char *names, const char *path, const sd_table_row *first,
                                     sd_text_columns *columns) {
    sd_cell part[2] = {{0}};
    *columns = (sd_text_columns){.n = names ? split(names, 2, part) : 0};
    for (int i = 0; i < columns->n; i++)
        SD_TRY(find_part(path, first, key, &part[i], &columns->text[i], &columns->header));
    return columns->n == 0 ? find_usual_texts(key, path, first, columns) : SD_OK;
}

sd_status sd_text_columns_find(const sd_data_spec *spec, const char *path, const sd_table_row *first,
                               sd_text_columns *columns) {
    sd_cell part[1];
    bool by_name;
    SD_TRY(sd_text_columns_find_texts("data.text_columns", spec->text_columns, path, first, columns));
    if (spec->objective == SD_OBJECTIVE_MLM)
        return SD_OK;
    if (!spec->label_column || !spec->label_column[0])
        return find_usual_label(path, first, columns);
    split(spec->label_column, 1, part);
    SD_TRY(find_part(path, first, "data.label_column", &part[0], &columns->label, &by_name));
    if (by_name != columns->header)
        return sd_fail(SD_ERR_CONFIG, "data.label_column: %s: names and numbers of columns do not go together",
                       spec->label_column);
    return SD_OK;
}
