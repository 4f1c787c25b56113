/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: vectors of the instruction set being compiled, in GNU C. */
#ifndef SDTRAIN_KERNELS_VEC_H
#define SDTRAIN_KERNELS_VEC_H

#include <math.h>

#include "isa.h"

typedef float vec __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float)), aligned(4), may_alias));
typedef int vec_mask __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float)), aligned(4), may_alias));

enum { VL = SD_VECTOR_FLOATS };

/* For local arrays of vectors in memory, each of which could otherwise straddle two cache lines. */
#define ALIGNED __attribute__((aligned(SD_VECTOR_FLOATS * sizeof(float))))

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
static inline vec splat(float x) { return x - (vec){0}; } /* x - 0 = x, also for -0, so this compiles to a broadcast */

/* For register tiles. gcc 12 moves a sum into the register of a factor (vfmadd132), which costs copies and, unrolled,
 * spills. KEEP_SUM after each product pins the sum to its register; KEEP_FACTOR after a factor's last product keeps its
 * register from receiving a sum. Both are empty statements: products and order stay the same. */
#if defined(__x86_64__) || defined(__i386__)
#define KEEP_SUM(sum) __asm__ volatile("" : "+v"(sum))
#define KEEP_FACTOR(factor) __asm__ volatile("" : : "v"(factor))
#else
#define KEEP_SUM(sum) ((void)0)
#define KEEP_FACTOR(factor) ((void)0)
#endif

/* For streams through memory, with which hardware prefetchers alone do not keep up (measured: 2 to 3 % of a step). May
 * pass the end of an array, as prefetching cannot fault. */
static inline void fetch_ahead(const float *p) {
    enum { AHEAD_ELEMS = 1024 };
    __builtin_prefetch(p + AHEAD_ELEMS);
}

/* condition ? x : 0, value by value. */
static inline vec keep_where(vec_mask condition, vec x) { return (vec)((vec_mask)x & condition); }

/* max(x, 0); NaN stays NaN. */
static inline vec positive_part(vec x) { return (vec)((vec_mask)x & ~(vec_mask)(x < 0)); }

#endif
