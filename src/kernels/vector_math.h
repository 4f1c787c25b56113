/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: functions without calls and branches, so that loops over them vectorise.
 * tests/bench/fit_functions.py fits and prints the coefficients; tests/unit/test_kernels.c measures the errors. NaN
 * stays NaN, as `x > limit ? limit : x` keeps it. */
#ifndef SDTRAIN_KERNELS_VECTOR_MATH_H
#define SDTRAIN_KERNELS_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "isa.h"

/* c[0] + c[1] x + ... + c[degree] x^degree, by Horner's rule. */
static inline __attribute__((always_inline)) float polynomial(const int degree, const float *c, float x) {
    float sum = c[degree];
    UNROLL
    for (int i = degree - 1; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

/* 1 - Phi(x) >= 0 for x >= 0, the upper tail of the standard normal distribution. */
static inline float upper_tail(float x) {
    /* half_erf on [0, 5.5]: 7.2e-09, 1.8e-08 */
    static const float p[] = {0.398942235f,   0.0338511549f,   0.00467714886f,
                              0.00016880761f, 6.35174104e-06f, 2.27490306e-08f};
    static const float q[] = {1.0f, 0.251518183f, 0.0286449651f, 0.00188434438f, 7.36403585e-05f, 1.19746596e-06f};
    const float t = x * x, y = 0.5f - x * (polynomial(5, p, t) / polynomial(5, q, t));
    return y < 0.0f ? 0.0f : y;
}

/* x Phi(x) = max(x, 0) - |x| (1 - Phi(|x|)) to 2.1e-7 max(1, |x|) with FMA, 2.4e-7 without; never above max(x, 0). For
 * |x| >= 6, also infinite, exactly max(x, 0): the fit exceeds 1/2 there by 1.3e-6, so the tail is 0. */
static inline float gelu(float x) {
    const float size = fabsf(x), a = size > 6.0f ? 6.0f : size, positive = x < 0.0f ? 0.0f : x;
    return positive - a * upper_tail(a);
}

/* d(x Phi(x))/dx to 2.4e-7 with FMA, 3.4e-7 without. slope - 1/2 is odd. Beyond |x| = 6.2 it is within 1.1e-8 of 0 or
 * 1, and set to that. */
static inline float gelu_slope(float x) {
    /* slope on [0, 6.2]: 7.9e-09, 2.3e-08 */
    static const float p[] = {0.7978845f,      -0.0122128303f,  0.0133382566f,   0.000390913048f,
                              3.19975829e-05f, 1.40653439e-06f, 1.50053873e-08f, -3.06667955e-11f};
    static const float q[] = {1.0f,           0.318026059f,    0.0477278956f,  0.00444916637f,
                              0.00028497318f, 1.21778529e-05f, 4.42092117e-07f};
    const float t = x * x, y = 0.5f + x * (polynomial(7, p, t) / polynomial(6, q, t));
    return x > 6.2f ? 1.0f : x < -6.2f ? 0.0f : y;
}

/* e^x for x <= 0 to 1 ulp; 0 for x < -87, where normal floats end. x = n ln 2 + r, |r| <= ln(2)/2; e^r = 1 + r + r^2
 * exp_rest(r). */
static inline float exp_below(float x) {
    /* exp_rest on [-0.3466, 0.3466]: 3.1e-09, 3.8e-09 */
    static const float p[] = {1.0f, 1.0f, 0.499999935f, 0.166665207f, 0.0416683874f, 0.00836871004f, 0.0013814611f};
    const float shift = 12582912.0f; /* 1.5 2^23: x + shift rounds x to an integer in the last bits */
    const float shifted = x * 1.44269504f + shift, n = shifted - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts (Cody & Waite) */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float power; /* 2^n */
    memcpy(&power, &bits, sizeof power);
    const float y = polynomial(6, p, r) * power;
    return x < -87.0f ? 0.0f : y;
}

#endif
