/* SPDX-License-Identifier: Apache-2.0 */
/* Private to dist/. */
#ifndef SDTRAIN_DIST_COMM_H
#define SDTRAIN_DIST_COMM_H

#include <mpi.h>
#include <stdatomic.h>

#include "sdtrain/dist.h"

enum {
    SD_HOST_BYTES = 64,
    SD_TAG_COPY = 32767 /* the largest that every MPI allows; a step's operations use low tags */
};

typedef struct sd_progress_thread sd_progress_thread;

/* Work in small pieces: called again until it returns true (nothing left for now). May call MPI. */
typedef bool (*sd_work)(void *context);

struct sd_comm {
    MPI_Comm mpi;
    MPI_Op sum_bf16; /* of MPI_UINT16_T: sd_wire_add() */
    int rank, size, local_size;
    int thread_level;           /* that MPI provides */
    sd_progress_thread *thread; /* if not NULL, no other thread calls MPI */
    sd_work work;               /* that sd_comm_drive() calls */
    void *work_context;
    _Atomic(const char *) calling; /* the operation that the caller waits for, or NULL */
    double *gathered;              /* [size][SD_MAX_SUMS] */
    char (*hosts)[SD_HOST_BYTES];  /* [size] */
    bool failed_together;
};

/* The status of an MPI return code. Only on the thread that may call MPI. */
sd_status sd_mpi_status(int code, const char *call);

/* Calls an MPI function; returns from the calling function on failure. */
#define SD_MPI(function, ...) SD_TRY(sd_mpi_status(function(__VA_ARGS__), #function))

/* Runs call(comm, context) on the thread that may call MPI, and waits for its end. name: for sd_comm_waits_for(). */
sd_status sd_comm_call(sd_comm *comm, const char *name, sd_status (*call)(sd_comm *, void *), void *context);

/* Sets the work of the next sd_comm_drive() and sd_comm_finish_work(). */
void sd_comm_set_work(sd_comm *comm, sd_work work, void *context);
/* Calls the work once (progress = poll), or wakes the thread that does. */
void sd_comm_drive(sd_comm *comm);
/* Waits until nothing is left of the work. */
void sd_comm_finish_work(sd_comm *comm);

/* Whether this rank computes gradients of a segment. */
static inline bool sd_is_computed_here(const sd_segment *segment, const sd_drop_plan *plan, const sd_drop_part *part) {
    return sd_segment_is_kept(segment, plan) && (segment->unit < 0 || !part || part->images[segment->unit] > 0);
}

/* sd_wire_add() as an MPI_User_function. */
void sd_wire_sum(void *words, void *sum, int *n, MPI_Datatype *type);

void sd_progress_thread_stop(sd_progress_thread **thread);

/* Whether all ranks hold one hash: MPI_MIN over ranks of (hash, ~hash) yields min and ~max, which are complements
 * only if min = max. */
enum { SD_VOTE_WORDS = 2 };
typedef struct sd_vote {
    uint64_t word[SD_VOTE_WORDS];
} sd_vote;
static inline sd_vote sd_vote_of(uint64_t hash) { return (sd_vote){{hash, ~hash}}; }
static inline bool sd_vote_is_unanimous(const sd_vote *counted) { return counted->word[0] == ~counted->word[1]; }

/* values: [rows][n] -> values[0..n): the sum over rows in a fixed binary tree, ((0+1) + (2+3)) + .... */
void sd_tree_fold(double *values, int rows, int n);

/* Sums a range of the gradient over 2^levels ranks, in place, in the same tree: recursive halving, then recursive
 * doubling (Thakur et al. 2005). One rank sums each value, in one order. */
typedef struct sd_tree_sum {
    float *data, *received; /* received: room for half of data */
    size_t elems;
    int tag, level, levels;
    bool halving;
    MPI_Request request[2];
} sd_tree_sum;

sd_status sd_tree_sum_start(sd_comm *comm, sd_tree_sum *sum);
sd_status sd_tree_sum_advance(sd_comm *comm, sd_tree_sum *sum, bool *done);

#endif
