/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: tables of texts, .tsv and .csv files.
 *
 * TSV: columns between tabs, a row a line, no quoting (as GLUE's files). CSV: columns between commas; one that begins
 * with a quote ends at the next single one, may hold commas and line breaks, and says a quote by two (RFC 4180). Lines
 * end in LF or CRLF; a byte order mark in front and empty lines are passed over. Every row has as many columns as the
 * first. Texts are UTF-8 without zeros. */
#ifndef SDTRAIN_DATA_TABLE_H
#define SDTRAIN_DATA_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

enum {
    SD_TABLE_MOST_COLUMNS = 64,
    SD_TABLE_MOST_TEXT_BYTES = 1 << 20, /* of a column of a row */
};

typedef struct sd_cell {
    const char *text; /* not terminated; the table's memory */
    size_t bytes;
} sd_cell;

typedef struct sd_table_row {
    int columns;
    sd_cell cell[SD_TABLE_MOST_COLUMNS];
    uint64_t line; /* where it begins, from 1 */
} sd_table_row;

typedef struct sd_table {
    const char *path; /* the caller's; for messages */
    bool is_csv;
    char *bytes; /* of the whole file */
    size_t n, at;
    uint64_t line; /* at `at` */
    int columns;   /* of every row; 0: none has been read */
} sd_table;

/* Reads a file; its name says which kind it is (anything but .csv: TSV). Errors of sd_file_get(); SD_ERR_DATA with line
 * and column of a byte that is not UTF-8, or 0. Close it in any case. */
sd_status sd_table_open(const char *path, sd_table *table);
void sd_table_close(sd_table *table);

/* What sd_table_open() looks for, for other files of text: SD_ERR_DATA with line and column of a byte that is not
 * UTF-8, or 0; the bytes of a byte order mark in front, 3 or 0. */
sd_status sd_table_check_text(const char *path, const char *text, size_t bytes);
size_t sd_table_mark_bytes(const char *text, size_t bytes);

/* The next row, valid until the table is closed; *end: there is none. SD_ERR_DATA with file and line: another number of
 * columns, a quote that is not closed or has something behind it, a text that is too long. */
sd_status sd_table_next(sd_table *table, sd_table_row *row, bool *end);

#endif
