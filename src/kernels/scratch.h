/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: one function lays out the scratch memory of a kernel,
 *
 *     x_scratch x_layout(shape, sd_scratch scratch)
 *
 * taking buffer after buffer from a cursor. The kernel calls it with memory, for the addresses; the public
 * x_scratch_elems() calls it with NULL, for the size. */
#ifndef SDTRAIN_KERNELS_SCRATCH_H
#define SDTRAIN_KERNELS_SCRATCH_H

#include <omp.h>

#include "sdtrain/kernels.h"

typedef struct scratch_cursor {
    sd_scratch scratch;
    size_t elems; /* taken so far */
} scratch_cursor;

static inline float *take(scratch_cursor *cursor, size_t elems) {
    float *at = cursor->scratch.memory ? cursor->scratch.memory + cursor->elems : NULL;
    cursor->elems += elems;
    return at;
}

/* A buffer for each thread of a parallel region. The region must have num_threads(scratch.threads), as OpenMP's default
 * may have changed since the memory was allocated. */
typedef struct per_thread {
    float *first;
    size_t elems; /* per thread */
} per_thread;

static inline per_thread take_per_thread(scratch_cursor *cursor, size_t elems) {
    return (per_thread){take(cursor, (size_t)cursor->scratch.threads * elems), elems};
}

/* One buffer that all threads share. */
static inline per_thread take_shared(scratch_cursor *cursor, size_t elems) {
    return (per_thread){take(cursor, elems), 0};
}

/* The buffer of the calling thread. */
static inline float *own(const per_thread *buffers) {
    return buffers->first + (size_t)omp_get_thread_num() * buffers->elems;
}

#endif
