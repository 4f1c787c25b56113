/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that ranks hold the same thing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"
#include "sdtrain/arena.h"
#include "sdtrain/hash.h"

typedef struct answer {
    uint64_t hash;
    char host[SD_HOST_BYTES];
} answer;

/* How many of all ranks say the same as rank i. */
static int supporters(const answer *all, int ranks, int i) {
    int n = 0;
    for (int j = 0; j < ranks; j++)
        n += all[j].hash == all[i].hash;
    return n;
}

static sd_status name_odd_ranks(const answer *all, int ranks, const char *what) {
    char names[512] = "";
    int most = 0;
    for (int i = 0; i < ranks; i++)
        most = supporters(all, ranks, i) > most ? supporters(all, ranks, i) : most;
    const bool tie = 2 * most <= ranks; /* no majority: name everybody */
    for (int i = 0; i < ranks; i++) {
        size_t used = strlen(names);
        if ((tie || supporters(all, ranks, i) < most) && used < sizeof names - 1)
            snprintf(names + used, sizeof names - used, "%srank %d on %s", used ? ", " : "", i, all[i].host);
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
    SD_TRY(sd_comm_call(comm, "comparison of all ranks", count_votes, &vote));
    if (sd_vote_is_unanimous(&vote))
        return SD_OK;
    answer mine = {.hash = hash}, *all = NULL;
    snprintf(mine.host, sizeof mine.host, "%s", comm->host);
    sd_status status = SD_OK;
    if (comm->rank == 0)
        status = sd_alloc(&all, (size_t)comm->size, sizeof *all);
    SD_TRY(sd_comm_agree(comm, status));
    status = sd_comm_gather(comm, &mine, sizeof mine, all);
    if (status == SD_OK && comm->rank == 0)
        status = name_odd_ranks(all, comm->size, what);
    free(all);
    return sd_comm_agree(comm, status);
}
