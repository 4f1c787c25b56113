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
    X(SD_REDUCTION_REPRODUCIBLE, "reproducible") /* a tree over shards, the same on any ranks */
typedef enum sd_reduction { SD_REDUCTION_LIST(SD_CHOICE_ENUMERATOR) } sd_reduction;
SD_CHOICE_WORD_OF(sd_reduction, SD_REDUCTION_LIST)

/* Who moves data while a rank computes. */
#define SD_COMMUNICATION_PROGRESS_LIST(X)                                                                              \
    X(SD_COMMUNICATION_THREAD, "thread") /* sd_comm_start_thread() */                                                  \
    X(SD_COMMUNICATION_POLL, "poll")     /* the reducer, whenever it is told of a segment */
typedef enum sd_communication_progress {
    SD_COMMUNICATION_PROGRESS_LIST(SD_CHOICE_ENUMERATOR)
} sd_communication_progress;
SD_CHOICE_WORD_OF(sd_communication_progress, SD_COMMUNICATION_PROGRESS_LIST)

/* How gradients travel. */
#define SD_WIRE_LIST(X)                                                                                                \
    X(SD_WIRE_FP32, "fp32")                                                                                            \
    X(SD_WIRE_BF16, "bf16") /* half the bytes, with error feedback */
typedef enum sd_wire_format { SD_WIRE_LIST(SD_CHOICE_ENUMERATOR) } sd_wire_format;
SD_CHOICE_WORD_OF(sd_wire_format, SD_WIRE_LIST)

/* Starts MPI and joins all ranks: once in a process. Collective. */
sd_status sd_comm_start(int *argc, char ***argv, sd_comm **comm);

/* SD_ERR_USAGE if MPI has one rank although the launcher says that it started several processes: srun without PMIx, or
 * the mpiexec of another MPI. Each of them would train alone. Process 0 alone has the message, where the launcher
 * tells which one that is. Local. */
sd_status sd_comm_check_launcher(const sd_comm *comm);

/* From here on a thread makes all calls of MPI, so that reductions go on while the caller computes; without it, they go
 * on only when the reducer is told of a segment. One caller at a time in either case. Nothing with one rank.
 * SD_ERR_CONFIG if MPI does not allow it. Local. */
sd_status sd_comm_start_thread(sd_comm *comm);

/* Ends MPI. Collective, unless some ranks have failed alone: then use sd_comm_abort(). */
void sd_comm_finish(sd_comm **comm);

/* Ends all ranks at once with this exit code; does not return. Local. */
void sd_comm_abort(sd_comm *comm, int exit_code) __attribute__((noreturn));

/* Local; the texts are the communicator's. */
int sd_comm_rank(const sd_comm *comm);
int sd_comm_size(const sd_comm *comm);
int sd_comm_local_size(const sd_comm *comm); /* ranks on this host */
const char *sd_comm_host(const sd_comm *comm);
const char *sd_comm_library(void); /* "Open MPI v4.1.4, ..." */

/* The collective operation outside of reductions that this rank's caller is in, in words, or NULL. Local; from any
 * thread. */
const char *sd_comm_waits_for(const sd_comm *comm);

/* Brings all ranks to one status: SD_OK if all have it, else that of the lowest rank that failed, which alone keeps its
 * error message. Collective: call it after everything that can fail on one rank before the next step that all share. */
sd_status sd_comm_agree(sd_comm *comm, sd_status status);

/* Whether the last failure was agreed on by all ranks: then each may leave by itself. Local. */
bool sd_comm_failed_together(const sd_comm *comm);

/* Copies rank 0's bytes to all. Collective; bytes must be equal on all ranks. */
sd_status sd_comm_broadcast(sd_comm *comm, void *data, size_t bytes);

/* Copies one rank's bytes to another's; data: of either. Nothing if both are one rank, or for the rest, who may call it
 * as well. Collective of the two. */
sd_status sd_comm_copy(sd_comm *comm, int from, int to, void *data, size_t bytes);

/* values: [shards][n] of this rank, all ranks have as many shards. Into values[0..n) comes the sum over the shards of
 * all ranks, in a fixed binary tree that joins neighbours; where shards is a power of two, it does not depend on how
 * many ranks share them. Collective. */
sd_status sd_comm_sum(sd_comm *comm, double *values, int shards, int n);
/* Element-wise over ranks, in place, on all. Collective. */
sd_status sd_comm_max(sd_comm *comm, double *values, int n);

/* Rank 0 receives everybody's bytes, in order of ranks (all: [ranks][bytes], read on rank 0 only). Collective. */
sd_status sd_comm_gather(sd_comm *comm, const void *mine, size_t bytes, void *all);

/* SD_ERR_INTERNAL on all ranks if the hash (sdtrain/hash.h) is not the same on all; rank 0's message names the odd rank
 * and its host (with two ranks, both). what: "weights", "configuration". Collective. */
sd_status sd_comm_check_same(sd_comm *comm, uint64_t hash, const char *what);

/* Sums gradients over shards and ranks, bucket by bucket, as the backward passes complete them.
 *
 * A step's batch is cut into shards, as many on each rank; a rank runs them one after another, and the reducer adds
 * them up in the lower part of a binary tree. With the last of them buckets (sdtrain/bucket.h) begin to travel, while
 * earlier layers compute.
 *
 * Segments that the plan drops for all images are never sent if skip_dropped; else they are sent as zeros. A segment
 * that is computed elsewhere, but not here, counts as zeros. The buckets of a step are a pure function of the plan, and
 * so is the order of collectives; that ranks hold one plan is asked at the start of the step, and no bucket leaves
 * before the answer. */
typedef struct sd_reducer sd_reducer;

typedef struct sd_reducer_spec {
    size_t bucket_bytes;
    bool skip_dropped;
    int shards;        /* of this rank; a power of two if reproducible, else 1 */
    bool reproducible; /* ranks join in the upper part of the tree (tree.c); else MPI's allreduce */
    bool bf16;         /* gradients travel as bf16 with error feedback (wire.h); not with reproducible */
    bool restorable;   /* with bf16: sd_reducer_restore_error() may be called; takes one buffer more */
} sd_reducer_spec;

/* What a step's reduction took. */
typedef struct sd_traffic {
    size_t parameter_bytes; /* of learned values handed to reductions: 4 each, 2 as bf16; 0 with one rank */
    double driving;         /* seconds of this thread within the backward passes */
    double waiting;         /* after them, until the slowest rank had ended its own */
    double transfer;        /* from there until the sums were complete */
} sd_traffic;

/* Local; the spec must be equal on all ranks. comm and network must outlive the reducer. bucket_bytes: of values on
 * the wire, at least one. SD_ERR_MEMORY; destroy it in any case. */
sd_status sd_reducer_create(sd_comm *comm, sd_network *network, const sd_reducer_spec *spec, sd_reducer **reducer);
/* Local; before the communicator and the network, not within a step. */
void sd_reducer_destroy(sd_reducer **reducer);
size_t sd_reducer_bytes(const sd_reducer *reducer); /* of memory */

/* What rounding has kept back of this rank's gradients, to be added to its next ones: laid out like gradients, the
 * reducer's, NULL without bf16. Part of a run's state, for each rank: results depend on the sum of all, bits on
 * each. Local, between steps. */
float *sd_reducer_error(sd_reducer *reducer);
/* Takes the last step back: its sums are not used, and the error becomes what it was before. Local, after
 * sd_reducer_end(). */
void sd_reducer_restore_error(sd_reducer *reducer);

/* A step: begin; for each shard begin_shard before its forward pass, whose gradients go to the buffer that it returns,
 * then segment_done (an sd_segment_done) for every segment in order; end. Together they are collective. plan must be
 * equal on all ranks, and lives until the next begin; hash: sd_drop_plan_hash(), by which that is checked. part: the
 * pass's own, of this shard. The sums end up in the network's own buffer of gradients. */
void sd_reducer_begin(sd_reducer *reducer, const sd_drop_plan *plan, uint64_t hash);
float *sd_reducer_begin_shard(sd_reducer *reducer, const sd_drop_part *part);
void sd_reducer_segment_done(void *reducer, int segment);
/* values: [shards][n] of this rank -> values[0..n), as sd_comm_sum(). SD_ERR_INTERNAL if plans disagree, naming the
 * odd rank. */
sd_status sd_reducer_end(sd_reducer *reducer, double *values, int n, sd_traffic *traffic);

/* What bf16 on the wire costs this processor beside sending: seconds a value. Local; some hundredths of a second. */
typedef struct sd_wire_seconds {
    double round;  /* in the backward pass: to bf16, keeping the error */
    double add;    /* to another rank's */
    double expand; /* a sum, to float */
} sd_wire_seconds;
sd_status sd_wire_measure(sd_wire_seconds *seconds);

/* What operation i of the last step was, in their order; false past the last. For traces. Local, after
 * sd_reducer_end(). */
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
