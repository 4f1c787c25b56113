/* SPDX-License-Identifier: Apache-2.0 */
/* The result of a run, or its state so far: summary.json, and the summary printed at the end.
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

/* The rank that the others waited for: the one that waited least, if the others waited longer by at least 3 % of the
 * time on average, and each of them at least half of their mean. waited: [ranks] seconds, of `seconds` of training. */
typedef struct sd_slow_rank {
    int rank;        /* -1: none */
    double fraction; /* of the time: waiting of the others minus its own */
} sd_slow_rank;
sd_slow_rank sd_slow_rank_find(const double *waited, int ranks, double seconds);

/* summary.json. Texts become strings, NAN becomes null. */
typedef struct sd_summary {
    const char *run_folder, *host, *mpi, *isa;
    const char *status; /* "running", "stopped", "complete", "diverged" */
    const char *job;    /* of --job; NULL: none */
    const sd_progress *progress;
    sd_slow_rank waited_for;
    const char *waited_for_host; /* of the slow rank; NULL: none */
    int ranks, threads;
    size_t parameters;
} sd_summary;
sd_status sd_summary_write(const char *folder, const sd_summary *summary);
/* The last start of a run, read from the folder's summary.json; "" where it has no value, or does not exist. */
enum { SD_JOB_BYTES = 121 };
typedef struct sd_last_start {
    char status[16], job[SD_JOB_BYTES];
    uint64_t run_id; /* 0: none */
} sd_last_start;
sd_last_start sd_summary_last_start(const char *folder);
/* Prints the summary as text. */
void sd_summary_print(FILE *to, const sd_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
