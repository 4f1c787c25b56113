/* SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>
#include <omp.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "sdtrain/kernels.h"

int sd_kernels_threads(void) { return omp_get_max_threads(); }

void sd_kernels_set_threads(int threads) {
    omp_set_num_threads(threads);
    omp_set_max_active_levels(1);
    openblas_set_num_threads(1);
}

/* ---- waiting ---- */

typedef struct sleepers {
    int threads;
    sem_t begun;
} sleepers;

static void *sleep_on(void *context) {
    sleepers *team = context;
#pragma omp parallel num_threads(team->threads)
    {
#pragma omp barrier
    } sem_post(&team->begun);
    for (;;)
        pause();
    return NULL;
}

/* libgomp takes how long threads spin from the environment, before main() begins, and no call changes it. But while it
 * has more threads than there are processors they hardly spin (its manual, GOMP_SPINCOUNT). So another team, which
 * sleeps, makes them one more. It is one of the thread created here, which libgomp does not count, and its own. */
void sd_kernels_share_processors(void) {
    static sleepers team;
    pthread_t thread;
    if (sd_kernels_threads() == 1)
        return;
    team.threads = omp_get_num_procs() - sd_kernels_threads() + 2;
    if (team.threads < 2)
        return;
    sem_init(&team.begun, 0, 0);
    if (pthread_create(&thread, NULL, sleep_on, &team) != 0)
        return; /* then they spin */
    pthread_detach(thread);
    while (sem_wait(&team.begun) != 0) {
    }
}
