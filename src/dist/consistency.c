/* SPDX-License-Identifier: Apache-2.0 */
/* Checks by hash that all ranks hold the same data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"
#include "sdtrain/arena.h"

/* The number of ranks whose hash equals that of rank i. */
static int n_equal(const uint64_t *hashes, int ranks, int i) {
    int n = 0;
    for (int j = 0; j < ranks; j++)
        n += hashes[j] == hashes[i];
    return n;
}

static sd_status name_odd_ranks(const sd_comm *comm, const uint64_t *hashes, const char *what) {
    char names[512] = "";
    const int ranks = comm->size;
    int most = 0;
    for (int i = 0; i < ranks; i++)
        most = n_equal(hashes, ranks, i) > most ? n_equal(hashes, ranks, i) : most;
    const bool tie = 2 * most <= ranks; /* no majority: name everybody */
    for (int i = 0; i < ranks; i++) {
        size_t used = strlen(names);
        if ((tie || n_equal(hashes, ranks, i) < most) && used < sizeof names - 1)
            snprintf(names + used, sizeof names - used, "%srank %d on %s", used ? ", " : "", i,
                     sd_comm_host_of(comm, i));
    }
    return sd_fail(SD_ERR_INTERNAL, "ranks disagree about the %s: %s %s", what, names,
                   tie ? "differ" : "differs from the rest");
}

static sd_status count_votes(sd_comm *comm, void *vote) {
    SD_MPI(MPI_Allreduce, MPI_IN_PLACE, vote, SD_VOTE_WORDS, MPI_UINT64_T, MPI_MIN, comm->mpi);
    return SD_OK;
}

sd_status sd_comm_check_same(sd_comm *comm, uint64_t hash, const char *what) {
    sd_vote vote = sd_vote_of(hash);
    uint64_t *hashes = NULL;
    SD_TRY(sd_comm_call(comm, "comparison of all ranks", count_votes, &vote));
    if (sd_vote_is_unanimous(&vote))
        return SD_OK;
    sd_status status = comm->rank == 0 ? sd_alloc(&hashes, (size_t)comm->size, sizeof *hashes) : SD_OK;
    SD_TRY(sd_comm_agree(comm, status));
    status = sd_comm_gather(comm, &hash, sizeof hash, hashes);
    if (status == SD_OK && comm->rank == 0)
        status = name_odd_ranks(comm, hashes, what);
    free(hashes);
    return sd_comm_agree(comm, status);
}
