/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/random.h"

#include <Random123/philox.h>
#include <math.h>

sd_random sd_random_at(uint32_t seed, uint32_t stream, uint64_t item, uint64_t time) {
    philox4x32_ctr_t counter = {{(uint32_t)item, (uint32_t)(item >> 32), (uint32_t)time, (uint32_t)(time >> 32)}};
    philox4x32_key_t key = {{seed, stream}};
    philox4x32_ctr_t out = philox4x32(counter, key);
    return (sd_random){{out.v[0], out.v[1], out.v[2], out.v[3]}};
}

double sd_random_uniform(uint32_t word) { return word * 0x1p-32; }

double sd_random_normal(sd_random random) {
    double radius = sqrt(-2.0 * log((random.word[0] + 0.5) * 0x1p-32));
    return radius * cos(2.0 * M_PI * sd_random_uniform(random.word[1]));
}

uint32_t sd_random_index(uint32_t word, uint64_t n) { return (uint32_t)((word * n) >> 32); }

void sd_random_permutation(uint32_t seed, uint32_t stream, uint64_t time, uint32_t *order, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = sd_random_index(sd_random_at(seed, stream, i - 1, time).word[0], i);
        uint32_t swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
