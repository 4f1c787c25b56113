/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: epilogues. A kernel cuts its result into pieces of consecutive rows, by shape alone. It finishes
 * each piece while the cache holds it, which leaves partial sums, and folds these in order at the end. */
#ifndef SDTRAIN_KERNELS_EPILOGUE_H
#define SDTRAIN_KERNELS_EPILOGUE_H

#include "isa.h"

/* Floats of a piece's partial sums, which are doubles: the number of rows, and two sums per channel (statistics(),
 * gradient()). */
static inline size_t partial_elems(int c) { return 2 * (2 * (size_t)c + 2); }

/* Applies the epilogue to rows [first, first + rows) of y [all rows, c]. partials: of all pieces. epilogue may be
 * NULL. */
void finish_piece(const sd_epilogue *epilogue, size_t first, size_t rows, int c, float *y, size_t piece,
                  float *partials);

/* sd_kernels.apply_epilogue */
void SD_ISA_NAME(apply_epilogue)(size_t rows, int c, float *y, const sd_epilogue *epilogue, sd_scratch scratch);

/* Folds the partial sums of all pieces into mean and variance, or sum and sum_product. */
void fold_pieces(const sd_epilogue *epilogue, size_t pieces, int c, float *partials);

#endif
