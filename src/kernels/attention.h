/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the scratch of the attention kernels, which work head by head, for all instruction sets. */
#ifndef SDTRAIN_KERNELS_ATTENTION_H
#define SDTRAIN_KERNELS_ATTENTION_H

#include "linear.h"

/* Rows of a panel of `tokens` tokens. */
static inline size_t attention_panel_rows(size_t tokens) { return round_up_to(tokens, TILE_ROWS); }

/* Floats of a panel of tokens x columns. */
static inline size_t attention_panel_elems(size_t tokens, size_t columns) {
    return panel_slices(columns) * SLICE * attention_panel_rows(tokens);
}

/* Buffers of one head. */
typedef struct attention_head {
    float *p, *dp;         /* [slice of queries][key][16] */
    float *panel;          /* a left-hand matrix [token, dim] */
    float *packed, *slice; /* right-hand matrices: [token, dim]; [dim, 16 tokens] */
    size_t elems;
} attention_head;

static inline attention_head attention_head_layout(size_t tokens, size_t dim, float *memory) {
    scratch_cursor cursor = {.scratch.memory = memory};
    attention_head h;
    h.p = take(&cursor, attention_panel_elems(tokens, tokens));
    h.dp = take(&cursor, attention_panel_elems(tokens, tokens));
    h.panel = take(&cursor, attention_panel_elems(tokens, dim));
    h.packed = take(&cursor, packed_b_elems(tokens, dim));
    h.slice = take(&cursor, packed_b_elems(dim, SLICE));
    h.elems = cursor.elems;
    return h;
}

typedef struct attention_scratch {
    per_thread heads; /* an attention_head; in attention_ref.c p and dp: [2, tokens, tokens] */
    size_t elems;
} attention_scratch;

static inline attention_scratch attention_layout(size_t tokens, size_t dim, sd_scratch scratch) {
    scratch_cursor cursor = {.scratch = scratch};
    attention_scratch s;
    s.heads = take_per_thread(&cursor, attention_head_layout(tokens, dim, NULL).elems);
    s.elems = cursor.elems;
    return s;
}

static inline attention_scratch attention_reference_layout(size_t tokens, sd_scratch scratch) {
    scratch_cursor cursor = {.scratch = scratch};
    attention_scratch s;
    s.heads = take_per_thread(&cursor, 2 * tokens * tokens);
    s.elems = cursor.elems;
    return s;
}

#endif
