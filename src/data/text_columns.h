/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: which columns of a table are texts and labels. */
#ifndef SDTRAIN_DATA_TEXT_COLUMNS_H
#define SDTRAIN_DATA_TEXT_COLUMNS_H

#include "sdtrain/data.h"
#include "table.h"

typedef struct sd_text_columns {
    int n, text[2]; /* one text, or a pair */
    int label;
    bool header; /* the first row has names of columns */
} sd_text_columns;

/* Finds the texts, and whether there is a header. names: as spec's text_columns, or NULL; key: what the user calls it.
 * Errors of sd_text_columns_find(). */
sd_status sd_text_columns_find_texts(const char *key, const char *names, const char *path, const sd_table_row *first,
                                     sd_text_columns *columns);

/* By spec's text_columns and label_column: names, which the first row must have, or numbers from 1, and then the first
 * row is a text. Without text_columns the first row must have "sentence" or "text", or the pair "sentence1" and
 * "sentence2"; without label_column "label", "labels", "class" or "category". SD_ERR_DATA names file and line;
 * SD_ERR_CONFIG begins with the key. */
sd_status sd_text_columns_find(const sd_data_spec *spec, const char *path, const sd_table_row *first,
                               sd_text_columns *columns);

#endif
