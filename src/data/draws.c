/* SPDX-License-Identifier: Apache-2.0 */
#include "draws.h"

enum { WORDS = sizeof(sd_random) / sizeof(uint32_t) };

uint32_t sd_draws_next(sd_draws *draws) {
    const uint32_t n = draws->next++;
    if (n % WORDS == 0)
        draws->block =
            sd_random_at(draws->seed, draws->stream, (uint64_t)(n / WORDS) << 32 | draws->sample, draws->epoch);
    return draws->block.word[n % WORDS];
}
