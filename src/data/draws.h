/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the random numbers of a transform, which may use no others. */
#ifndef SDTRAIN_DATA_DRAWS_H
#define SDTRAIN_DATA_DRAWS_H

#include "sdtrain/random.h"

/* Random words of one sample in one epoch, in order of draws. Word n is word n % 4 of
 *     Philox(seed, stream; item = (n / 4) << 32 | sample, time = epoch). */
typedef struct sd_draws {
    uint32_t seed;
    sd_stream stream;
    uint32_t sample;
    uint64_t epoch;
    uint32_t next;   /* n of the next word; begins at 0 */
    sd_random block; /* of the last word */
} sd_draws;

uint32_t sd_draws_next(sd_draws *draws);

#endif
