/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch sizes of kernels, the maximum over instruction sets. Convolutions: conv_layout.c. */
#include "attention.h"
#include "chunk.h"
#include "epilogue.h"
#include "linear.h"

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

size_t sd_linear_scratch_elems(int in, int out, int threads) {
    const sd_scratch none = {.threads = threads};
    const size_t forward = linear_forward_layout((size_t)in, (size_t)out, none).elems;
    const size_t backward = linear_backward_layout((size_t)in, (size_t)out, none).elems;
    return most(most(forward, backward), linear_reference_layout((size_t)in, (size_t)out, none).elems);
}

size_t sd_attention_scratch_elems(int tokens, int head_dim, int threads) {
    const sd_scratch none = {.threads = threads};
    return most(attention_layout((size_t)tokens, (size_t)head_dim, none).elems,
                attention_reference_layout((size_t)tokens, none).elems);
}

size_t sd_norm_scratch_elems(size_t rows, int c) {
    return n_chunks(rows, c) * most(partial_elems(c), layernorm_partial_elems(c));
}
