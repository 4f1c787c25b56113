/* Private to kernels/: sums over the rows of [rows, c], in chunks cut by shape alone.
 *
 * Narrow rows are taken several at a time: values of [rows, c] are one flat array whose channel is the place modulo c, so
 * a strip of `strip` = m*c consecutive values (at least 256 where c is small, less than one row) runs through the vector units whatever c is.
 * Within a chunk sums are float; over chunks they are double, added in order. */
#ifndef SDTRAIN_KERNELS_REDUCE_H
#define SDTRAIN_KERNELS_REDUCE_H

#include <stddef.h>

/* MAX_STRIP bounds the channels of a batch norm (kernels.h). */
enum { MAX_STRIP = 8192, CHUNK_ELEMS = 16384, MIN_STRIP = 256, MIN_CHUNK_ROWS = 16 };

static inline size_t strip_elems(int c) {
    size_t rows = c >= MIN_STRIP ? 1 : MIN_STRIP / (size_t)c;
    return rows * (size_t)c;
}

/* Whole strips, about CHUNK_ELEMS values. */
static inline size_t chunk_elems(int c) {
    size_t strip = strip_elems(c), strips = CHUNK_ELEMS / strip;
    return strip * (strips < MIN_CHUNK_ROWS ? MIN_CHUNK_ROWS : strips);
}

static inline size_t n_chunks(size_t rows, int c) { return (rows * (size_t)c + chunk_elems(c) - 1) / chunk_elems(c); }

/* Adds the two strips of a chunk up into its two rows of c doubles: partial[chunk][2][c]. */
static inline void fold_strips(const float *first, const float *second, int c, double *partial) {
    for (int i = 0; i < 2 * c; i++)
        partial[i] = 0;
    for (size_t j = 0, strip = strip_elems(c); j < strip; j++) {
        partial[j % (size_t)c] += first[j];
        partial[(size_t)c + j % (size_t)c] += second[j];
    }
}

/* Adds all chunks up, in order, into the first. */
static inline void fold_chunks(double *partial, size_t chunks, int c) {
    for (size_t chunk = 1; chunk < chunks; chunk++)
        for (int i = 0; i < 2 * c; i++)
            partial[i] += partial[chunk * 2 * (size_t)c + (size_t)i];
}

#endif
