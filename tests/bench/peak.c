/* SPDX-License-Identifier: Apache-2.0 */
/* The rate at which one thread can multiply and add at best. Compiled for each instruction set with the flags of its
 * kernels; one without fused multiply-add multiplies, then adds. */
#include "peak.h"

#define JOIN2(name, isa) name##_##isa
#define JOIN(name, isa) JOIN2(name, isa)

/* More than latency times units (4 x 2, or 8 for a product and a sum), few enough for 16 registers. */
enum { CHAINS = 12 };

typedef float vector __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float))));

bench_peak JOIN(bench_peak, SD_ISA);

double JOIN(bench_peak, SD_ISA)(size_t turns, float factor, float addend, float *result) {
    vector value[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        value[i] = (vector){0} + (float)i;
    for (size_t turn = 0; turn < turns; turn++)
        for (int i = 0; i < CHAINS; i++)
            value[i] = value[i] * factor + addend;
    *result = 0;
    for (int i = 0; i < CHAINS; i++)
        for (int lane = 0; lane < SD_VECTOR_FLOATS; lane++)
            *result += value[i][lane];
    return 2.0 * CHAINS * SD_VECTOR_FLOATS * (double)turns;
}
