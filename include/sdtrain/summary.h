/* SPDX-License-Identifier: Apache-2.0 */
/* How a run ended, or stands: summary.json, and the closing words.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_SUMMARY_H
#define SDTRAIN_SUMMARY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/progress.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The rank that the others waited for: the one that waited least, if the others waited longer than it by at least 3 %
 * of the time and no other came near. waited: [ranks] seconds, of `seconds` of training. */
typedef struct sd_slow_rank {
    int rank;        /* -1: nobody stands out */
    double fraction; /* of the time, by which the others waited longer than it */
} sd_slow_rank;
sd_slow_rank sd_slow_rank_find(const double *waited, int ranks, double seconds);

/* summary.json. Text members end up as strings, numbers that are NAN as null. */
typedef struct sd_summary {
    const char *run_folder, *host, *mpi, *isa;
    const char *status; /* "running", "stopped", "complete", "diverged" */
    const char *job;    /* of --job; NULL: none */
    const sd_progress *progress;
    sd_slow_rank waited_for;
    const char *waited_for_host; /* of that rank; NULL: nobody stands out */
    int ranks, threads;
    size_t parameters;
} sd_summary;
sd_status sd_summary_write(const char *folder, const sd_summary *summary);
/* What the summary of a folder says of its last start; "" where it says nothing, or there is none. */
enum { SD_JOB_BYTES = 121 };
typedef struct sd_last_start {
    char status[16], job[SD_JOB_BYTES];
    uint64_t run_id; /* 0: it says none */
} sd_last_start;
sd_last_start sd_summary_last_start(const char *folder);
/* The same for a person. */
void sd_summary_print(FILE *to, const sd_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
