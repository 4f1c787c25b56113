/* SPDX-License-Identifier: Apache-2.0 */
/* Contiguous shares of n items. Local. */
#ifndef SDTRAIN_RANGE_H
#define SDTRAIN_RANGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_range {
    uint64_t first, count;
} sd_range;

/* Share `part` (from 0) of n items cut into `parts`: contiguous, in order, their sizes differ by at most one. If m
 * divides parts, parts/m consecutive shares make exactly one share of m. */
sd_range sd_range_share(uint64_t n, int part, int parts);

#ifdef __cplusplus
}
#endif
#endif
