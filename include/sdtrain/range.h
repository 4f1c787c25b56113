/* SPDX-License-Identifier: Apache-2.0 */
/* How n items in a row are shared out. Local. */
#ifndef SDTRAIN_RANGE_H
#define SDTRAIN_RANGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_range {
    uint64_t first, count;
} sd_range;

/* The part of n items that is one of `parts`: contiguous, in order of parts, counts differ by at most one. If parts is
 * a multiple of m, every parts/m of them in a row are together exactly one of m parts. */
sd_range sd_range_share(uint64_t n, int part, int parts);

#ifdef __cplusplus
}
#endif
#endif
