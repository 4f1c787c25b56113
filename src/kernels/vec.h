/* Private to kernels/: vectors of the instruction set being compiled, in GNU C. */
#ifndef SDTRAIN_KERNELS_VEC_H
#define SDTRAIN_KERNELS_VEC_H

#include <math.h>

#include "isa.h"

typedef float vec __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float)), aligned(4), may_alias));
typedef int vec_mask __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float)), aligned(4), may_alias));

enum { VL = SD_VECTOR_FLOATS };

/* For local arrays of vectors that live in memory: without it each would lie across two cache lines. */
#define ALIGNED __attribute__((aligned(SD_VECTOR_FLOATS * sizeof(float))))

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define KEEP_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#define KEEP_ROLLED _Pragma("GCC unroll 1")
#endif

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
static inline vec same(float x) { return (vec){0} + x; }

/* For streams through far memory, which hardware prefetchers alone do not keep up with (measured: 2 to 3 % of a step). May pass the
 * end of an array: prefetching cannot fault. */
static inline void fetch_ahead(const float *p) {
    enum { AHEAD_ELEMS = 1024 };
    __builtin_prefetch(p + AHEAD_ELEMS);
}

/* condition ? x : 0, value by value. */
static inline vec where(vec_mask condition, vec x) { return (vec)((vec_mask)x & condition); }

/* max(x, 0); NaN stays NaN. */
static inline vec positive_part(vec x) { return (vec)((vec_mask)x & ~(vec_mask)(x < 0)); }

#endif
