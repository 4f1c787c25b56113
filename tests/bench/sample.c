/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "bench.h"

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_spread bench_spread_of(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return (bench_spread){
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2, .lowest = values[0], .highest = values[n - 1]};
}

void bench_fill(float *x, size_t elems) {
    uint32_t word = 1;
    for (size_t i = 0; i < elems; i++) {
        word = word * 1664525u + 1013904223u; /* the high bits are the good ones */
        x[i] = (float)(word >> 8) * (2.0f / (1 << 24)) - 1;
    }
}
