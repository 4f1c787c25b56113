/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of sdtrain-bench share. Local throughout: no MPI. */
#ifndef SDTRAIN_BENCH_H
#define SDTRAIN_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "sdtrain/config.h"
#include "sdtrain/status.h"

/* ---- sample.c ---- */

/* Median, lowest and highest of some values. */
typedef struct bench_spread {
    double median, lowest, highest;
} bench_spread;

/* Sorts values. n >= 1. */
bench_spread bench_spread_of(double *values, int n);

/* Fills x with numbers in [-1, 1) that a convolution neither overflows nor makes denormal: cheap, repeatable, not
 * random enough for anything else. */
void bench_fill(float *x, size_t elems);

/* ---- the modes ---- */

/* GFLOP/s of the kernels for the layers of ResNet-110, ResNet-50 and ViT-Tiny whose name contains one of the n names (n
 * = 0: of all), one thread, as a table on standard output. isa: NULL is the best there is. direct: no
 * Winograd. */
sd_status bench_kernels(const char *isa, bool direct, int rounds, int n, const char *const *names);

/* Images/s of the phases of training steps of a checked configuration on made-up images; with a drop rate also what
 * dropping saves. */
sd_status bench_steps(const sd_config *config, int rounds, int steps);

/* Images/s that the loader of a checked configuration prepares, data.workers threads, an epoch a round. */
sd_status bench_loader(const sd_config *config, int rounds);

#endif
