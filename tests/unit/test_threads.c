/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/threads: how the threads of a parallel region wait for each other. */
#include <omp.h>
#include <time.h>

#include "../support.h"

enum { ROUNDS = 50, ROUND_MS = 10, TRIALS = 5 };

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The processors' time that a thread takes while it waits for another, which sleeps. */
static double waiting_seconds(void) {
    const double begin = cpu_seconds();
    for (int round = 0; round < ROUNDS; round++) {
#pragma omp parallel num_threads(2)
        if (omp_get_thread_num() == 1)
            nanosleep(&(struct timespec){.tv_nsec = ROUND_MS * 1000000L}, NULL);
    }
    return cpu_seconds() - begin;
}

/* Spinning takes 150 to 500 ms: up to 300,000 turns in each round. Before there is a second team it is done once or
 * twice. */
START_TEST(threads_that_share_processors_sleep_while_they_wait) {
    sd_kernels_set_threads(2);
    sd_kernels_share_processors();
    double seconds = waiting_seconds();
    for (int trial = 1; trial < TRIALS; trial++) /* others on the machine only add to it */
        seconds = fmin(seconds, waiting_seconds());
    expect(seconds < 0.1, "threads that wait take %.0f of %d ms", 1e3 * seconds, ROUNDS * ROUND_MS);
}
END_TEST

START_TEST(one_thread_waits_for_nobody) {
    sd_kernels_set_threads(1);
    sd_kernels_share_processors();
    ck_assert_int_eq(sd_kernels_threads(), 1);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("threads");
    tcase_add_test(cases, threads_that_share_processors_sleep_while_they_wait);
    tcase_add_test(cases, one_thread_waits_for_nobody);
    return run_suite("threads", cases);
}
