/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: these sources are compiled once for each instruction set, with SD_ISA naming it and
 * SD_VECTOR_FLOATS its vector length. SD_ISA_NAME(f) gives a function its suffix. */
#ifndef SDTRAIN_KERNELS_ISA_H
#define SDTRAIN_KERNELS_ISA_H

#include "sdtrain/kernels.h"

#define SD_ISA_JOIN2(name, isa) name##_##isa
#define SD_ISA_JOIN(name, isa) SD_ISA_JOIN2(name, isa)
#define SD_ISA_NAME(name) SD_ISA_JOIN(name, SD_ISA)
#define SD_ISA_STRING2(isa) #isa
#define SD_ISA_STRING(isa) SD_ISA_STRING2(isa)

/* Before a loop over a constant number of registers or coefficients. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define KEEP_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#define KEEP_ROLLED _Pragma("GCC unroll 1")
#endif

/* y = row-major matrices; the one door to BLAS. C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C. */
void sd_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
             const float *b, size_t ldb, float beta, float *c, size_t ldc);

#endif
