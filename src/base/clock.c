/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/clock.h"

#include <time.h>

static double program_start;

/* Before main(): starting MPI may take seconds. */
__attribute__((constructor)) static void note_start(void) { program_start = sd_clock_seconds(); }

double sd_clock_program_start(void) { return program_start; }

double sd_clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
