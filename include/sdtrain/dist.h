/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks: the only part of the library that talks to MPI.
 *
 * Collective means: all ranks of the communicator call it, in the same order. An error inside MPI itself is
 * SD_ERR_INTERNAL. */
#ifndef SDTRAIN_DIST_H
#define SDTRAIN_DIST_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/choice.h"
#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_comm sd_comm;

/* How gradients are summed. */
#define SD_REDUCTION_LIST(X)                                                                                           \
    X(SD_REDUCTION_FAST, "fast")                 /* MPI's allreduce */                                                 \
    X(SD_REDUCTION_REPRODUCIBLE, "reproducible") /* a tree over shards, whatever the number of ranks */
typedef enum sd_reduction { SD_REDUCTION_LIST(SD_CHOICE_ENUMERATOR) } sd_reduction;
SD_CHOICE_WORD_OF(sd_reduction, SD_REDUCTION_LIST)

/* Which thread calls MPI while a rank computes. */
#define SD_COMMUNICATION_PROGRESS_LIST(X)                                                                              \
    X(SD_COMMUNICATION_THREAD, "thread") /* sd_comm_start_thread() */                                                  \
    X(SD_COMMUNICATION_POLL, "poll")     /* the computing thread, after each segment */
typedef enum sd_communication_progress {
    SD_COMMUNICATION_PROGRESS_LIST(SD_CHOICE_ENUMERATOR)
} sd_communication_progress;
SD_CHOICE_WORD_OF(sd_communication_progress, SD_COMMUNICATION_PROGRESS_LIST)

/* The format of gradients in messages. */
#define SD_WIRE_LIST(X)                                                                                                \
    X(SD_WIRE_FP32, "fp32")                                                                                            \
    X(SD_WIRE_BF16, "bf16") /* half the bytes, with error feedback */
typedef enum sd_wire_format { SD_WIRE_LIST(SD_CHOICE_ENUMERATOR) } sd_wire_format;
SD_CHOICE_WORD_OF(sd_wire_format, SD_WIRE_LIST)

/* Starts MPI and makes the communicator of all ranks, once in a process. Collective. */
sd_status sd_comm_start(int *argc, char ***argv, sd_comm **comm);

/* SD_ERR_USAGE if MPI has one rank although the launcher started several processes (srun without PMIx, or the mpiexec
 * of another MPI): each process would train alone. Only process 0 has the message, if the launcher numbers processes.
 * Local. */
sd_status sd_comm_check_launcher(const sd_comm *comm);

/* Starts a thread that makes all later MPI calls, so that reductions progress while the caller computes; without it
 * they progress only in sd_reducer_segment_done(). Either way, one caller at a time. No effect with one rank.
 * SD_ERR_CONFIG if MPI does not allow it. Local. */
sd_status sd_comm_start_thread(sd_comm *comm);

/* Ends MPI. Collective; if a rank has failed alone, use sd_comm_abort() instead. */
void sd_comm_finish(sd_comm **comm);

/* Ends all ranks at once with this exit code; does not return. Local. */
void sd_comm_abort(sd_comm *comm, int exit_code) __attribute__((noreturn));

/* Local. The communicator owns the texts. */
int sd_comm_rank(const sd_comm *comm);
int sd_comm_size(const sd_comm *comm);
int sd_comm_local_size(const sd_comm *comm); /* ranks on this host */
const char *sd_comm_host(const sd_comm *comm);
const char *sd_comm_host_of(const sd_comm *comm, int rank);
const char *sd_comm_library(void); /* "Open MPI v4.1.4, ..." */

/* The collective operation that this rank is in (reductions: sd_reducer_waits_for()), in words, or NULL. Local; from
 * any thread. */
const char *sd_comm_waits_for(const sd_comm *comm);

/* Returns the same status on all ranks: SD_OK if all have it, else that of the lowest failed rank, which alone keeps
 * its error message. Collective. Call it between code that can fail on one rank and the next collective. */
sd_status sd_comm_agree(sd_comm *comm, sd_status status);

/* Whether sd_comm_agree() has returned a failure on all ranks: then no rank needs sd_comm_abort(). Local. */
bool sd_comm_failed_together(const sd_comm *comm);

/* Copies rank 0's data to all ranks. Collective; bytes must be equal on all ranks. */
sd_status sd_comm_broadcast(sd_comm *comm, void *data, size_t bytes);

/* Copies data of rank `from` to data of rank `to`. Collective over these two; no effect on other ranks, or if from =
 * to. */
sd_status sd_comm_copy(sd_comm *comm, int from, int to, void *data, size_t bytes);

enum { SD_MAX_SUMS = 8 }; /* scalars that a step may sum (sd_reducer_end()) */

/* values: [shards][n] -> values[0..n): the sum over the shards of all ranks in a fixed binary tree. If shards is a
 * power of two, its bits do not depend on the number of ranks. Collective; shards and n must be equal on all ranks. */
sd_status sd_comm_sum(sd_comm *comm, double *values, int shards, int n);
/* Element-wise maximum over ranks, in place, on all ranks. Collective. */
sd_status sd_comm_max(sd_comm *comm, double *values, int n);

/* Gathers bytes of every rank on rank 0. all: [ranks][bytes], used on rank 0 only. Collective. */
sd_status sd_comm_gather(sd_comm *comm, const void *mine, size_t bytes, void *all);

/* SD_ERR_INTERNAL on all ranks if the hash (sdtrain/hash.h) differs between ranks; rank 0's message names the rank in
 * the minority and its host (all ranks, if there is no majority). what: "weights", "configuration". Collective. */
sd_status sd_comm_check_same(sd_comm *comm, uint64_t hash, const char *what);

/* Sums gradients over shards and ranks, bucket by bucket, as the backward passes complete them.
 *
 * A step's batch is cut into shards, equally many on each rank. A rank computes its shards one after another, and the
 * reducer sums them in the lower part of a binary tree. During the last shard's backward pass it sends each bucket
 * (sdtrain/bucket.h) that is complete, while the pass goes on.
 *
 * Segments that are frozen (sd_network_freeze()) are neither summed nor sent; one with a tensor that is not frozen is
 * sent whole. Segments that the plan drops for all images, and rows of a table of embeddings that no token of the batch
 * names, are not sent (skip_dropped) or sent as zeros. A segment that only other ranks compute counts as zeros
 * here. Buckets and the order of collectives are pure functions of the plan and these rows; ranks compare the hash of
 * both first, and send no bucket before that has succeeded. */
typedef struct sd_reducer sd_reducer;

typedef struct sd_reducer_spec {
    size_t bucket_bytes;
    bool skip_dropped;
    int shards;        /* of this rank; a power of two if reproducible, else 1 */
    bool reproducible; /* the tree continues over ranks (tree.c); else MPI's allreduce */
    bool bf16;         /* gradients travel as bf16 with error feedback (wire.h); not with reproducible */
    bool restorable;   /* with bf16: allows sd_reducer_restore_error(), at the cost of one more buffer */
} sd_reducer_spec;

/* Cost of a step's reduction. */
typedef struct sd_traffic {
    size_t parameter_bytes; /* of reduced parameters: 4 each, 2 as bf16; 0 with one rank */
    double driving;         /* seconds of the computing thread in the reducer, within backward passes */
    double waiting;         /* seconds after backward until the slowest rank has ended its own */
    double transfer;        /* seconds from there until the sums are complete */
} sd_traffic;

/* Local; the spec must be equal on all ranks. comm and network must outlive the reducer. bucket_bytes: of values on the
 * wire, at least one value. SD_ERR_MEMORY; destroy it in any case. */
sd_status sd_reducer_create(sd_comm *comm, sd_network *network, const sd_reducer_spec *spec, sd_reducer **reducer);
/* Local; not within a step, and before the communicator and the network are destroyed. */
void sd_reducer_destroy(sd_reducer **reducer);
size_t sd_reducer_bytes(const sd_reducer *reducer); /* of memory */

/* This rank's rounding error e (bf16 with error feedback): laid out like gradients, owned by the reducer, NULL without
 * bf16. It is state of the run: sums depend on the total of e over ranks, their bits on each rank's e. Local, between
 * steps. */
float *sd_reducer_error(sd_reducer *reducer);
/* Restores the rounding error from before the last step, for a step whose sums are not used. Local, after
 * sd_reducer_end(). */
void sd_reducer_restore_error(sd_reducer *reducer);

/* A step: begin; for each shard begin_shard, which returns the buffer for the gradients of its pass, then segment_done
 * for every segment in order; end. Together they are collective. plan: equal on all ranks, used until the next begin;
 * rows: likewise, the rows that the whole batch touches of segments with row_elems, whose gradients must be zeros
 * elsewhere; NULL: all. hash: of both, compared between ranks; part: as sd_pass.part. The network's own gradient buffer
 * receives the sums. */
void sd_reducer_begin(sd_reducer *reducer, const sd_drop_plan *plan, const sd_row_set *rows, uint64_t hash);
float *sd_reducer_begin_shard(sd_reducer *reducer, const sd_drop_part *part);
void sd_reducer_segment_done(sd_reducer *reducer, int segment);
/* values: [shards][n] of this rank -> values[0..n), as sd_comm_sum(); n <= SD_MAX_SUMS. SD_ERR_INTERNAL if plans
 * differ, naming the rank in the minority. */
sd_status sd_reducer_end(sd_reducer *reducer, double *values, int n, sd_traffic *traffic);

/* Processor time of bf16 on the wire, in seconds per value. Measuring takes some hundredths of a second. Local. */
typedef struct sd_wire_seconds {
    double round;  /* to bf16 with error feedback, in the backward pass */
    double add;    /* two ranks' values */
    double expand; /* a sum to fp32 */
} sd_wire_seconds;
sd_status sd_wire_measure(sd_wire_seconds *seconds);

/* Operation i of the last step, in order; false past the last. For traces. Local, after sd_reducer_end(). */
typedef struct sd_operation_record {
    const char *name;
    size_t bytes;
    double begin, end; /* sd_clock_seconds() */
} sd_operation_record;
bool sd_reducer_operation(const sd_reducer *reducer, int i, sd_operation_record *record);

/* The first operation of the step under way that is not complete, in words; false if there is none. Local; from any
 * thread. */
bool sd_reducer_waits_for(const sd_reducer *reducer, char *text, size_t text_bytes);

#ifdef __cplusplus
}
#endif
#endif
