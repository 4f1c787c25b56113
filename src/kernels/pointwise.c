#include <math.h>

#include "isa.h"

#define FOR_ELEMS                                                                                                      \
    _Pragma("omp parallel for simd schedule(static) if (elems > 65536)") for (size_t i = 0; i < elems; i++)

void SD_ISA_NAME(residual_add)(size_t elems, const float *shortcut, const float *branch, float scale, bool relu,
                               float *y) {
    const float least = relu ? 0.0f : -INFINITY;
    FOR_ELEMS
    {
        float sum = shortcut[i] + scale * branch[i];
        y[i] = sum < least ? least : sum; /* NaN stays NaN */
    }
}

void SD_ISA_NAME(relu_backward)(size_t elems, const float *y, float *dy) {
    FOR_ELEMS
    dy[i] = y[i] > 0 ? dy[i] : 0.0f;
}

void SD_ISA_NAME(scale)(size_t elems, float scale, const float *x, float *y) {
    FOR_ELEMS
    y[i] = scale * x[i];
}

void SD_ISA_NAME(accumulate)(size_t elems, const float *x, float *y) {
    FOR_ELEMS
    y[i] += x[i];
}
