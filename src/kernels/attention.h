/* Private to kernels/: the working memory of one head, for all instruction sets. */
#ifndef SDTRAIN_KERNELS_ATTENTION_H
#define SDTRAIN_KERNELS_ATTENTION_H

#include "linear.h"

/* Rows of a panel of so many tokens. */
static inline size_t attention_panel_rows(size_t tokens) { return round_up_to(tokens, TILE_ROWS); }

/* Floats of a panel of tokens x columns. */
static inline size_t attention_panel_elems(size_t tokens, size_t columns) {
    return panel_slices(columns) * SLICE * attention_panel_rows(tokens);
}

/* Floats of one head's scratch: two panels of scores, one of a token matrix, two packed right-hand matrices, a product. */
static inline size_t attention_head_elems(size_t tokens, size_t dim) {
    return 2 * attention_panel_elems(tokens, tokens) + attention_panel_elems(tokens, dim) +
           packed_b_elems(tokens, dim) + packed_b_elems(dim, SLICE) + SLICE * dim;
}

#endif
