/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: dropout (sd_dropout), 64 columns of a row at a time: as many as 16 random numbers of four words
 * decide. */
#ifndef SDTRAIN_KERNELS_DROPOUT_H
#define SDTRAIN_KERNELS_DROPOUT_H

#include "isa.h"
#include "panel.h"

enum { DROPOUT_COLUMNS = 4 * SLICE };

/* The row and the column of a probability in attention, as columns of a slice of queries lie in memory. */
static inline size_t attention_dropout_row(size_t head, size_t query) { return head << 10 | query / SLICE; }
static inline size_t attention_dropout_column(size_t key, size_t query) { return key * SLICE + query % SLICE; }

static inline bool drops(const sd_dropout *dropout) { return dropout && dropout->rate > 0; }

static inline float dropout_scale(const sd_dropout *dropout) { return 1.0f / (1.0f - dropout->rate); }

/* drop(v) = factor[j % 64] v at column j of the 64 around `column`. */
void dropout_factors(const sd_dropout *dropout, size_t image, size_t row, size_t column, float factor[DROPOUT_COLUMNS]);

#endif
