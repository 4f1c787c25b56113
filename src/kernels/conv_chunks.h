/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: chunks of a backward pass, so that threads need not wait for each other.
 *
 * A backward pass iterates over pieces of its images, each of which adds to the gradient of the weights. Chunks are
 * runs of consecutive pieces, cut by shape alone, with a gradient each:
 *
 *     parallel: for each chunk n of the thread (conv_chunks_of_thread):
 *                   gradient[n] = 0
 *                   for each piece of the chunk: its steps (conv_part_of), between which conv_wait()
 *               barrier, add_chunks()
 *
 * If there is one chunk, all threads share each piece: a thread computes its part of every step, and always sums the
 * same values of the gradient. */
#ifndef SDTRAIN_KERNELS_CONV_CHUNKS_H
#define SDTRAIN_KERNELS_CONV_CHUNKS_H

#include "conv.h"

typedef struct conv_chunks {
    long pieces; /* of all chunks */
    int count;
} conv_chunks;

/* At most MAX_CHUNKS chunks; one if their gradients, of gradient_elems floats each, would exceed max_bytes. */
static inline conv_chunks conv_cut_chunks(long pieces, size_t gradient_elems, size_t max_bytes) {
    enum { MAX_CHUNKS = 8 };
    const bool fit = MAX_CHUNKS * gradient_elems * sizeof(float) <= max_bytes;
    return (conv_chunks){pieces, !fit ? 1 : pieces < MAX_CHUNKS ? (int)pieces : MAX_CHUNKS};
}

/* The first piece of chunk n; chunk `count` gives the number of pieces. */
static inline long conv_first_piece(const conv_chunks *chunks, int n) { return chunks->pieces * n / chunks->count; }

static inline bool pieces_are_shared(const conv_chunks *chunks) { return chunks->count == 1; }

/* The calling thread's chunks. */
static inline conv_share conv_chunks_of_thread(const conv_chunks *chunks) {
    return pieces_are_shared(chunks) ? (conv_share){0, 1} : conv_share_of(chunks->count);
}

/* The calling thread's part of n units of a step. */
static inline conv_share conv_part_of(const conv_chunks *chunks, int n) {
    return pieces_are_shared(chunks) ? conv_share_of(n) : (conv_share){0, n};
}

/* Waits until all threads of a piece have done their parts of the step. */
static inline void conv_wait(const conv_chunks *chunks) {
    if (pieces_are_shared(chunks)) {
#pragma omp barrier
    }
}

/* The gradient of chunk n; the first is stored apart from the others. */
static inline float *conv_chunk_gradient(int n, size_t elems, float *first, float *others) {
    return n == 0 ? first : others + (size_t)(n - 1) * elems;
}

/* first += gradients of the other chunks, in order. All threads call it; returns when it is complete. */
static inline void add_chunks(const conv_chunks *chunks, size_t elems, float *restrict first,
                              const float *restrict others) {
    enum { PART_ELEMS = 2048 }; /* fits the cache */
#pragma omp for schedule(static)
    for (size_t begin = 0; begin < elems; begin += PART_ELEMS) {
        const size_t end = elems - begin < PART_ELEMS ? elems : begin + PART_ELEMS;
        for (int n = 1; n < chunks->count; n++) {
            const float *other = others + (size_t)(n - 1) * elems;
            for (size_t i = begin; i < end; i++)
                first[i] += other[i];
        }
    }
}

#endif
