/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: what a kernel keeps in its scratch memory is laid out by one function,
 *
 *     x_scratch x_layout(shape, sd_scratch scratch)
 *
 * which takes piece after piece from a cursor. The kernel calls it with the memory it was given, to know where things
 * lie; x_scratch_elems() of the public header with none, to know how much they are. */
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

/* A buffer for each thread of a parallel region, which must run with num_threads(scratch.threads): OpenMP's own number
 * may have changed since the memory was taken. */
typedef struct per_thread {
    float *first;
    size_t elems; /* of one thread's */
} per_thread;

static inline per_thread take_per_thread(scratch_cursor *cursor, size_t elems) {
    return (per_thread){take(cursor, (size_t)cursor->scratch.threads * elems), elems};
}

/* The same one for all threads. */
static inline per_thread take_shared(scratch_cursor *cursor, size_t elems) {
    return (per_thread){take(cursor, elems), 0};
}

/* The calling thread's. */
static inline float *own(const per_thread *buffers) {
    return buffers->first + (size_t)omp_get_thread_num() * buffers->elems;
}

#endif
