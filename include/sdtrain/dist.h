/* Ranks: the only part of the library that talks to MPI.
 *
 * Collective means: all ranks of the communicator call it, in the same order. An error inside MPI itself is
 * SD_ERR_INTERNAL. */
#ifndef SDTRAIN_DIST_H
#define SDTRAIN_DIST_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_comm sd_comm;

/* Starts MPI (with MPI_THREAD_FUNNELED: only the calling thread may use it) and joins all ranks. Collective. */
sd_status sd_comm_start(int *argc, char ***argv, sd_comm **comm);

/* Ends MPI. Collective, unless some ranks have failed alone: then use sd_comm_abort(). */
void sd_comm_finish(sd_comm **comm);

/* Ends all ranks at once with this exit code; does not return. Local. */
void sd_comm_abort(sd_comm *comm, int exit_code) __attribute__((noreturn));

int sd_comm_rank(const sd_comm *comm);
int sd_comm_size(const sd_comm *comm);
int sd_comm_local_size(const sd_comm *comm); /* ranks on this host */
const char *sd_comm_host(const sd_comm *comm);
const char *sd_comm_library(void); /* "Open MPI v4.1.4, ..." */

/* Brings all ranks to one status: SD_OK if all have it, else that of the lowest rank that failed, which alone keeps its
 * error message. Collective: call it after everything that can fail on one rank before the next step that all share. */
sd_status sd_comm_agree(sd_comm *comm, sd_status status);

/* Whether the last failure was agreed on by all ranks: then each may leave by itself. */
bool sd_comm_failed_together(const sd_comm *comm);

/* Copies rank 0's bytes to all. Collective; bytes must be equal on all ranks. */
sd_status sd_comm_broadcast(sd_comm *comm, void *data, size_t bytes);

/* Element-wise over ranks, in place, on all. Collective. */
sd_status sd_comm_sum(sd_comm *comm, double *values, int n);
sd_status sd_comm_max(sd_comm *comm, double *values, int n);

/* Rank 0 receives everybody's bytes, in order of ranks (all: [ranks][bytes], read on rank 0 only). Collective. */
sd_status sd_comm_gather(sd_comm *comm, const void *mine, size_t bytes, void *all);

/* SD_ERR_INTERNAL on all ranks if the hash is not the same on all; rank 0's message names the odd rank and its host (with two
 * ranks, both). what: "weights", "configuration". Collective. */
sd_status sd_comm_check_same(sd_comm *comm, uint64_t hash, const char *what);

/* XXH3 of bytes, for sd_comm_check_same(). Local. */
uint64_t sd_hash(const void *data, size_t bytes);

/* Sums gradients over ranks, bucket by bucket, as the backward pass completes them.
 *
 * A bucket is the largest range of adjacent segments that are to be sent, up to bucket_bytes (a larger segment is a bucket of
 * its own). Dropped segments are never sent if skip_dropped; else they are sent as zeros. The buckets of a step are a pure
 * function of the plan, and so is the order of collectives. */
typedef struct sd_reducer {
    sd_comm *comm;
    sd_network *network;
    size_t bucket_elems;
    bool skip_dropped;
    const sd_drop_plan *plan; /* of the step under way */
    size_t first_elem, elems; /* the open bucket */
    sd_status status;
    size_t parameter_bytes; /* sent this step: 4 x learned values, without statistics */
    double seconds;         /* spent in it this step */
} sd_reducer;

void sd_reducer_init(sd_reducer *reducer, sd_comm *comm, sd_network *network, size_t bucket_bytes, bool skip_dropped);

/* begin, then segment_done for every segment in order (it is an sd_segment_done), then end. Collective together. */
void sd_reducer_begin(sd_reducer *reducer, const sd_drop_plan *plan);
void sd_reducer_segment_done(void *reducer, int segment);
sd_status sd_reducer_end(sd_reducer *reducer);

#ifdef __cplusplus
}
#endif
#endif
