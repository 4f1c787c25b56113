/* SPDX-License-Identifier: Apache-2.0 */
#include "threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/hash.h"
#include "sdtrain/processors.h"

/* A CPU quota and the ranks that share it. */
typedef struct quota {
    int processors; /* a part of one counts as one; 0: there is none */
    int ranks;      /* in its control group */
} quota;

/* The quota that leaves a rank the fewest processors: ranks in one control group share what it has. Collective. */
static sd_status find_quota(sd_comm *comm, quota *least) {
    sd_cpu_limit mine[SD_MAX_CPU_LIMITS] = {{0}}, *all = NULL;
    const size_t ranks = (size_t)sd_comm_size(comm);
    const int n = sd_processors_limits("", mine);
    for (int i = 0; i < n; i++) /* another host may have the same numbers */
        mine[i].group ^= sd_hash(sd_comm_host(comm), strlen(sd_comm_host(comm)));
    sd_status status = sd_alloc(&all, ranks * SD_MAX_CPU_LIMITS, sizeof *all);
    SD_TRY_CLEANUP(sd_comm_agree(comm, status));
    SD_TRY_CLEANUP(sd_comm_gather(comm, mine, sizeof mine, all));
    SD_TRY_CLEANUP(sd_comm_broadcast(comm, all, ranks * sizeof mine));
    *least = (quota){0, 1};
    for (int i = 0; i < n; i++) {
        quota this = {(int)fmin(ceil(mine[i].processors), SD_MAX_THREADS), 0};
        for (size_t rank = 0; rank < ranks; rank++) {
            bool shares = false;
            for (int j = 0; j < SD_MAX_CPU_LIMITS; j++)
                shares |= all[rank * SD_MAX_CPU_LIMITS + (size_t)j].processors > 0 &&
                          all[rank * SD_MAX_CPU_LIMITS + (size_t)j].group == mine[i].group;
            this.ranks += shares;
        }
        if (least->processors == 0 || this.processors * least->ranks < least->processors * this.ranks)
            *least = this;
    }
cleanup:
    free(all);
    return status;
}

/* This rank's share: ranks of a host that are bound to the same processors share them evenly, and so with a quota. */
static int share_of(const sd_comm *comm, const quota *quota) {
    const int mine = sd_processors_allowed(), online = sd_processors_online();
    const int sharing = (int)lround((double)sd_comm_local_size(comm) * mine / (double)(online > mine ? online : mine));
    int threads = mine / (sharing > 0 ? sharing : 1);
    if (quota->processors > 0 && quota->processors / quota->ranks < threads)
        threads = quota->processors / quota->ranks;
    return threads < 1 ? 1 : threads > SD_MAX_THREADS ? SD_MAX_THREADS : threads;
}

/* The first number of OMP_NUM_THREADS, which may list several for nested teams; 0: it is not set, or not of that
 * form. */
static int environment_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    long first = 0;
    if (!text || text[strspn(text, " \t")] == '\0')
        return 0;
    for (const char *entry = text; entry;) {
        char *end;
        const long n = strtol(entry, &end, 10);
        const char *behind = end + strspn(end, " \t");
        if (end == entry || n < 1 || n > SD_MAX_THREADS || (*behind != ',' && *behind != '\0')) {
            sd_log_warn("OMP_NUM_THREADS = %s is not used: a number of threads from 1 to %d is expected; "
                        "run.threads gives one as well",
                        text, SD_MAX_THREADS);
            return 0;
        }
        first = first > 0 ? first : n;
        entry = *behind == ',' ? behind + 1 : NULL;
    }
    return (int)first;
}

/* Threads that take turns on a processor are slower than one. Usual causes: how mpirun binds ranks, a container's
 * quota. */
static void hint_at_sharing(const sd_comm *comm, const quota *quota, int threads) {
    const int mine = sd_processors_allowed(), online = sd_processors_online(), ranks = sd_comm_local_size(comm);
    if (threads == 1)
        return;
    if (threads > mine)
        sd_log_warn(
            "%d threads of a rank share %d processor%s: bind a rank to as many as it has threads (mpirun --map-by "
            "slot:PE=%d --bind-to core), or set run.threads = %d",
            threads, mine, mine == 1 ? "" : "s", threads, mine);
    else if (ranks * threads > online)
        sd_log_warn("%d ranks x %d threads on %s share %d processors: use fewer ranks a host, or set run.threads = %d",
                    ranks, threads, sd_comm_host(comm), online, online > ranks ? online / ranks : 1);
    else if (quota->processors > 0 && quota->ranks * threads > quota->processors)
        sd_log_warn(
            "%d rank%s x %d threads on %s share the CPU quota of their control group (a container's or a job's), "
            "%d processor%s: set run.threads = %d",
            quota->ranks, quota->ranks == 1 ? "" : "s", threads, sd_comm_host(comm), quota->processors,
            quota->processors == 1 ? "" : "s", quota->processors > quota->ranks ? quota->processors / quota->ranks : 1);
}

sd_status sd_threads_choose(sd_comm *comm, const sd_config *config, int *threads) {
    quota quota;
    SD_TRY(find_quota(comm, &quota));
    *threads = (int)config->run.threads;
    if (*threads == 0)
        *threads = environment_threads();
    if (*threads == 0)
        *threads = share_of(comm, &quota);
    hint_at_sharing(comm, &quota, *threads);
    return SD_OK;
}
