/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include <string.h>

/* A row never moves up, so none is overwritten before it has moved. */
void sd_rows_pack(const sd_row_set *rows, size_t row_elems, float *table) {
    for (size_t i = 0; i < rows->n; i++)
        if ((size_t)rows->row[i] != i)
            memcpy(table + i * row_elems, table + (size_t)rows->row[i] * row_elems, row_elems * sizeof *table);
}

/* From the last row down. Of the rows between two of the set, those hold something that packing has written to. */
void sd_rows_unpack(const sd_row_set *rows, size_t row_elems, float *table) {
    size_t above = rows->n; /* rows from here on are as they shall be */
    for (size_t i = rows->n; i-- > 0;) {
        const size_t row = (size_t)rows->row[i];
        if (row != i)
            memcpy(table + row * row_elems, table + i * row_elems, row_elems * sizeof *table);
        if (row + 1 < above)
            memset(table + (row + 1) * row_elems, 0, (above - row - 1) * row_elems * sizeof *table);
        above = row < above ? row : above;
    }
    memset(table, 0, above * row_elems * sizeof *table);
}
