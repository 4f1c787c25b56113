/* SPDX-License-Identifier: Apache-2.0 */
/* CSV logs that a run goes on with after it was stopped: a header line, then rows.
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

/* The bytes of a file up to its first row whose first column, a number that never falls, is above last, or that is cut
 * short. What is no row, such as a note, counts to the rows before it. 0 if there is no such file. */
uint64_t sd_csv_bytes_up_to(const char *folder, const char *name, uint64_t last);
/* had_bytes = 0: a new file. Else it goes on behind its rows up to `last`, as above; what is behind them is removed.
 * had_bytes: what they took when they were written; a warning if they take anything else now, as somebody has edited
 * the file or it is gone. */
sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t last,
                      uint64_t had_bytes);
/* One row, with its newline; reaches the operating system at once. */
sd_status sd_csv_row(sd_csv *csv, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The length so far; of a csv that is not open 0. */
sd_status sd_csv_length(sd_csv *csv, uint64_t *bytes);
/* To the disk; also while another thread adds rows. Nothing to do if it is not open. */
sd_status sd_csv_sync(const sd_csv *csv);
void sd_csv_close(sd_csv *csv);

/* A number as a CSV field: "" for NAN, else 9 significant digits. Returns text. */
const char *sd_csv_number(double value, char text[32]);

#ifdef __cplusplus
}
#endif
#endif
