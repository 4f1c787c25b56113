/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SDTRAIN_BENCH_PEAK_H
#define SDTRAIN_BENCH_PEAK_H

#include <stddef.h>

/* Does so many turns of independent v = v * factor + addend and returns their FLOPs. *result keeps the compiler from
 * leaving them out; factor in (0, 1) and addend > 0 keep the values normal numbers. */
typedef double bench_peak(size_t turns, float factor, float addend, float *result);

#endif
