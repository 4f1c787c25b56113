/* SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>

#include "isa.h"

enum { CHUNK_ROWS = 256 }; /* rows of C per task: constant, so that bits do not depend on threads */

void sd_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
             const float *b, size_t ldb, float beta, float *c, size_t ldc) {
#pragma omp parallel for schedule(static) if (m > CHUNK_ROWS)
    for (size_t row = 0; row < m; row += CHUNK_ROWS) {
        size_t rows = m - row < CHUNK_ROWS ? m - row : CHUNK_ROWS;
        cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                    (blasint)rows, (blasint)n, (blasint)k, alpha, transpose_a ? a + row : a + row * lda, (blasint)lda,
                    b, (blasint)ldb, beta, c + row * ldc, (blasint)ldc);
    }
}
