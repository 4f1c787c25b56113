/* How much scratch kernels need, the most of any instruction set. Convolutions: conv_plan.c. */
#include <omp.h>

#include "attention.h"
#include "chunk.h"
#include "epilogue.h"
#include "linear.h"
#include "sdtrain/kernels.h"

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

size_t sd_linear_scratch_elems(int in, int out) {
    const size_t threads = (size_t)omp_get_max_threads();
    const size_t in_elems = round_up_to((size_t)in, COLUMN_GROUP), out_elems = round_up_to((size_t)out, COLUMN_GROUP);
    const size_t forward = packed_b_elems(in_elems, out_elems) + threads * in_elems * linear_forward_rows(in);
    const size_t backward =
        (in_elems + out_elems) * BACKWARD_ROWS + packed_b_elems(out_elems, in_elems) + in_elems * out_elems + out_elems;
    const size_t reference = REFERENCE_ROWS * (size_t)(in + out);
    return most(most(forward, backward), reference);
}

size_t sd_attention_scratch_elems(int tokens, int head_dim) {
    return (size_t)omp_get_max_threads() * attention_head_elems((size_t)tokens, (size_t)head_dim);
}

size_t sd_norm_scratch_elems(size_t rows, int c) { return n_chunks(rows, c) * partial_elems(c); }
