/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the only random numbers that a transform may see. */
#ifndef SDTRAIN_DATA_DRAWS_H
#define SDTRAIN_DATA_DRAWS_H

#include "sdtrain/random.h"

/* Words of one sample in one epoch, in the order in which they are asked for. Word n is word n % 4 of
 *     Philox(seed, stream; item = (n / 4) << 32 | sample, time = epoch). */
typedef struct sd_draws {
    uint32_t seed;
    sd_stream stream;
    uint32_t sample;
    uint64_t epoch;
    uint32_t next;   /* n of the next word; begins at 0 */
    sd_random block; /* that the last word came from */
} sd_draws;

uint32_t sd_draws_next(sd_draws *draws);

#endif
