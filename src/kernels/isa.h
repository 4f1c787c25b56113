/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/, whose sources are compiled once for each instruction set SD_ISA, of vectors of SD_VECTOR_FLOATS.
 * SD_ISA_NAME(f) appends the suffix of the instruction set. */
#ifndef SDTRAIN_KERNELS_ISA_H
#define SDTRAIN_KERNELS_ISA_H

#include "sdtrain/kernels.h"

#define SD_ISA_JOIN2(name, isa) name##_##isa
#define SD_ISA_JOIN(name, isa) SD_ISA_JOIN2(name, isa)
#define SD_ISA_NAME(name) SD_ISA_JOIN(name, SD_ISA)
#define SD_ISA_STRING2(isa) #isa
#define SD_ISA_STRING(isa) SD_ISA_STRING2(isa)

/* Functions shared by the files of one instruction set. Debuggers show them with the suffix. */
#define operand_slices SD_ISA_NAME(operand_slices)
#define evaluate_block SD_ISA_NAME(evaluate_block)
#define dropout_factors SD_ISA_NAME(dropout_factors)
#define map_values SD_ISA_NAME(map_values)
#define finish_piece SD_ISA_NAME(finish_piece)
#define pack_b SD_ISA_NAME(pack_b)
#define panel_multiply_chunk SD_ISA_NAME(panel_multiply_chunk)
#define panel_multiply_transposed SD_ISA_NAME(panel_multiply_transposed)
#define pack_band SD_ISA_NAME(pack_band)
#define conv_panels_forward SD_ISA_NAME(conv_panels_forward)
#define conv_panels_backward SD_ISA_NAME(conv_panels_backward)
#define conv_pointwise_backward SD_ISA_NAME(conv_pointwise_backward)
#define conv_rows_forward SD_ISA_NAME(conv_rows_forward)
#define conv_rows_backward SD_ISA_NAME(conv_rows_backward)
#define conv_winograd_forward SD_ISA_NAME(conv_winograd_forward)
#define conv_winograd_backward SD_ISA_NAME(conv_winograd_backward)

/* Unrolls the next loop, over a constant number of registers or coefficients. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define KEEP_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#define KEEP_ROLLED _Pragma("GCC unroll 1")
#endif

/* C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C, row-major: the only use of BLAS. */
void sd_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
             const float *b, size_t ldb, float beta, float *c, size_t ldc);

#endif
