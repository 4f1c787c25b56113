/* SPDX-License-Identifier: Apache-2.0 */
/* Private to dist/: the gradient of a table of which a step's batch touches some rows. These travel packed, at the
 * beginning of the table's own memory:
 *
 *     rows touched 1, 3, 4        | 0 | a | 0 | b | c | 0 |
 *     packed                      | a | b | c | b | c | 0 |      the first three are sent
 *     unpacked, with their sums   | 0 | A | 0 | B | C | 0 |
 *
 * Local. table: rows of row_elems values; all rows that are not in the set are zeros before packing and after
 * unpacking. */
#ifndef SDTRAIN_DIST_ROWS_H
#define SDTRAIN_DIST_ROWS_H

#include "sdtrain/batch.h"

void sd_rows_pack(const sd_row_set *rows, size_t row_elems, float *table);
void sd_rows_unpack(const sd_row_set *rows, size_t row_elems, float *table);

#endif
