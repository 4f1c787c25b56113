/* SPDX-License-Identifier: Apache-2.0 */
/* CSV logs that a resumed run continues: a header line, then rows.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path. */
#ifndef SDTRAIN_CSV_H
#define SDTRAIN_CSV_H

#include <stdint.h>
#include <stdio.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A CSV file: a header line, then rows. */
typedef struct sd_csv {
    FILE *file;
    char path[1024];
} sd_csv;

/* Length of a file's part before the first row that is incomplete, or whose first column (a number that never
 * decreases) is above `last`. Lines that are no rows, such as notes, belong to the row before them. 0 if there is no
 * file. */
uint64_t sd_csv_bytes_up_to(const char *folder, const char *name, uint64_t last);
/* had_bytes = 0: begins a new file. Else cuts the file behind its rows up to `last` and appends. had_bytes: the length
 * of these rows when they were written; warns if it differs now (the file was edited or removed). */
sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t last,
                      uint64_t had_bytes);
/* Appends a row (format ends with the newline), and flushes it to the operating system. */
sd_status sd_csv_row(sd_csv *csv, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The length so far; 0 if not open. */
sd_status sd_csv_length(sd_csv *csv, uint64_t *bytes);
/* Syncs to the disk, also while another thread adds rows. No effect if not open. */
sd_status sd_csv_sync(const sd_csv *csv);
void sd_csv_close(sd_csv *csv);

/* A number as a CSV field: "" for NAN, else 9 significant digits. Returns text. */
const char *sd_csv_number(double value, char text[32]);

#ifdef __cplusplus
}
#endif
#endif
