/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: sd_random_at() for a vector of counters: Philox 4x32-10 (Salmon et al., SC 2011). */
#ifndef SDTRAIN_KERNELS_PHILOX_H
#define SDTRAIN_KERNELS_PHILOX_H

#include "vec.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

typedef uint32_t vec_word __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(uint32_t)), aligned(4), may_alias));
typedef uint64_t vec_pair __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(uint32_t)), aligned(4), may_alias));

static inline vec_word splat_word(uint32_t word) { return word + (vec_word){0}; }

static inline vec_word load_words(const uint32_t *p) { return *(const vec_word *)p; }

/* The 64-bit products of the words at even places with a factor. gcc 12 does not find the instruction by itself. */
static inline vec_pair multiply_even(vec_word x, uint32_t factor) {
    const vec_word factors = splat_word(factor);
#if defined(__SSE2__) && SD_VECTOR_FLOATS == 16
    return (vec_pair)_mm512_mul_epu32((__m512i)x, (__m512i)factors);
#elif defined(__SSE2__) && SD_VECTOR_FLOATS == 8
    return (vec_pair)_mm256_mul_epu32((__m256i)x, (__m256i)factors);
#elif defined(__SSE2__)
    return (vec_pair)_mm_mul_epu32((__m128i)x, (__m128i)factors);
#else
    const vec_pair low = UINT32_MAX + (vec_pair){0};
    return ((vec_pair)x & low) * ((vec_pair)factors & low);
#endif
}

/* high, low: of the 64-bit products factor x. */
static inline __attribute__((always_inline)) void multiply_words(uint32_t factor, vec_word x, vec_word *high,
                                                                 vec_word *low) {
    const vec_pair lower = UINT32_MAX + (vec_pair){0}; /* of both words of a pair */
    const vec_pair even = multiply_even(x, factor), odd = multiply_even((vec_word)((vec_pair)x >> 32), factor);
    *high = (vec_word)(even >> 32 | (odd & ~lower));
    *low = (vec_word)((even & lower) | odd << 32);
}

/* word[w] = word w of sd_random_at(seed, stream, item, time), where item and time are counter[0..1] and counter[2..3],
 * low words first. */
static inline __attribute__((always_inline)) void philox(uint32_t seed, uint32_t stream, const vec_word counter[4],
                                                         vec_word word[4]) {
    vec_word a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    UNROLL
    for (uint32_t round = 0; round < 10; round++) {
        vec_word high_a, low_a, high_c, low_c;
        multiply_words(0xD2511F53, a, &high_a, &low_a);
        multiply_words(0xCD9E8D57, c, &high_c, &low_c);
        a = high_c ^ b ^ splat_word(seed + round * 0x9E3779B9);
        b = low_c;
        c = high_a ^ d ^ splat_word(stream + round * 0xBB67AE85);
        d = low_a;
    }
    word[0] = a;
    word[1] = b;
    word[2] = c;
    word[3] = d;
}

#endif
