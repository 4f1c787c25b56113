/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/file.h"
#include "sdtrain/tokenizer.h"

static const size_t MOST_FILE_BYTES = (size_t)1 << 36;
static const char BYTE_ORDER_MARK[] = "\xef\xbb\xbf";

static sd_status fail(const sd_table *table, uint64_t line, const char *what) {
    return sd_fail(SD_ERR_DATA, "%s:%llu: %s", table->path, (unsigned long long)line, what);
}

sd_status sd_table_check_text(const char *path, const char *text, size_t bytes) {
    size_t bad;
    const char *zero = memchr(text, '\0', bytes);
    const bool is_text = sd_utf8_check(text, bytes, &bad);
    if (is_text && !zero)
        return SD_OK;
    if (zero && (is_text || (size_t)(zero - text) < bad))
        bad = (size_t)(zero - text);
    uint64_t line = 1;
    size_t begin = 0;
    for (size_t i = 0; i < bad; i++)
        if (text[i] == '\n') {
            line++;
            begin = i + 1;
        }
    return sd_fail(
        SD_ERR_DATA,
        "%s:%llu: byte %zu of the line is 0x%02x, which is no text in UTF-8; convert the file (iconv), or get it again",
        path, (unsigned long long)line, bad - begin + 1, (unsigned char)text[bad]);
}

size_t sd_table_mark_bytes(const char *text, size_t bytes) {
    return bytes >= 3 && !memcmp(text, BYTE_ORDER_MARK, 3) ? 3 : 0;
}

sd_status sd_table_open(const char *path, sd_table *table) {
    const char *dot = strrchr(path, '.');
    *table = (sd_table){.path = path, .is_csv = dot && !strcmp(dot, ".csv"), .line = 1};
    SD_TRY(sd_file_get(path, MOST_FILE_BYTES, &table->bytes, &table->n));
    table->at = sd_table_mark_bytes(table->bytes, table->n);
    return sd_table_check_text(path, table->bytes, table->n);
}

void sd_table_close(sd_table *table) {
    free(table->bytes);
    table->bytes = NULL;
}

/* ---- columns ---- */

/* How a column ends. */
typedef enum stop { COLUMN, ROW } stop;

/* Moves behind what ends a column at `at`: a separator, the end of a line, or the end of the file. */
static stop pass_end(sd_table *table) {
    if (table->at == table->n)
        return ROW;
    const char c = table->bytes[table->at++];
    if (c == '\r' && table->at < table->n && table->bytes[table->at] == '\n')
        table->at++;
    else if (c != '\n')
        return COLUMN;
    table->line++;
    return ROW;
}

static bool ends_line(const sd_table *table, size_t at) {
    return at == table->n || table->bytes[at] == '\n' ||
           (table->bytes[at] == '\r' && at + 1 < table->n && table->bytes[at + 1] == '\n');
}

static void read_plain(sd_table *table, char separator, sd_cell *cell) {
    const size_t begin = table->at;
    while (!ends_line(table, table->at) && table->bytes[table->at] != separator)
        table->at++;
    *cell = (sd_cell){table->bytes + begin, table->at - begin};
}

/* From its quote on; two quotes become one, in place. */
static sd_status read_quoted(sd_table *table, sd_cell *cell) {
    const uint64_t line = table->line;
    const size_t begin = ++table->at;
    size_t to = begin;
    for (;; table->at++) {
        if (table->at == table->n)
            return fail(table, line, "a quote that opens here is never closed");
        const char c = table->bytes[table->at];
        if (c == '"' && (++table->at == table->n || table->bytes[table->at] != '"'))
            break;
        table->line += c == '\n';
        table->bytes[to++] = c;
    }
    *cell = (sd_cell){table->bytes + begin, to - begin};
    if (!ends_line(table, table->at) && table->bytes[table->at] != ',')
        return fail(
            table, table->line,
            "behind the quote that closes a text stands something else than a comma; a quote within is said by two");
    return SD_OK;
}

static sd_status read_cell(sd_table *table, sd_cell *cell) {
    const uint64_t line = table->line;
    if (table->is_csv && table->at < table->n && table->bytes[table->at] == '"')
        SD_TRY(read_quoted(table, cell));
    else
        read_plain(table, table->is_csv ? ',' : '\t', cell);
    if (cell->bytes > SD_TABLE_MOST_TEXT_BYTES)
        return sd_fail(SD_ERR_DATA, "%s:%llu: a text of %zu bytes; %d are the most, which no model reads", table->path,
                       (unsigned long long)line, cell->bytes, SD_TABLE_MOST_TEXT_BYTES);
    return SD_OK;
}

/* ---- rows ---- */

static void pass_empty_lines(sd_table *table) {
    while (table->at < table->n && ends_line(table, table->at))
        pass_end(table);
}

sd_status sd_table_next(sd_table *table, sd_table_row *row, bool *end) {
    stop stop = COLUMN;
    pass_empty_lines(table);
    *end = table->at == table->n;
    row->columns = 0;
    row->line = table->line;
    while (!*end && stop == COLUMN) {
        if (row->columns == SD_TABLE_MOST_COLUMNS)
            return sd_fail(SD_ERR_DATA, "%s:%llu: more than %d columns", table->path, (unsigned long long)row->line,
                           SD_TABLE_MOST_COLUMNS);
        SD_TRY(read_cell(table, &row->cell[row->columns++]));
        stop = pass_end(table);
    }
    if (*end)
        return SD_OK;
    if (table->columns == 0)
        table->columns = row->columns;
    if (row->columns != table->columns)
        return sd_fail(SD_ERR_DATA, "%s:%llu: %d column%s, and %d in the rows before, between %s", table->path,
                       (unsigned long long)row->line, row->columns, row->columns == 1 ? "" : "s", table->columns,
                       table->is_csv ? "commas" : "tabs");
    return SD_OK;
}
