/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "isa.h"
#include "table.h"

void SD_ISA_NAME(scale)(size_t elems, float scale, const float *x, float *y) {
#pragma omp parallel for simd schedule(static) if (elems > 65536)
    for (size_t i = 0; i < elems; i++)
        y[i] = scale * x[i];
}

void SD_ISA_NAME(accumulate)(size_t elems, const float *x, float *y) {
#pragma omp parallel for simd schedule(static) if (elems > 65536)
    for (size_t i = 0; i < elems; i++)
        y[i] += x[i];
}
