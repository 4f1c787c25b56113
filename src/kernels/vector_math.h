/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: exp and erf written so that the compiler can turn loops over them into vector code. */
#ifndef SDTRAIN_KERNELS_VECTOR_MATH_H
#define SDTRAIN_KERNELS_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x to about 2 ulp for x in [-87, 88], clamped outside; NaN stays NaN. x = n ln 2 + r, |r| <= ln(2)/2, e^r by its Taylor series. */
static inline float fast_expf(float x) {
    float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f; /* rounds to the nearest whole number */
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f; /* ln 2 in two parts (Cody & Waite) */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    float whole = n == n ? n : 0.0f;
    uint32_t bits = (uint32_t)((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* erf by Abramowitz & Stegun 7.1.26, absolute error below 1.5e-7 and a few roundings; gauss = e^(-x^2) is handed in for reuse. */
static inline float fast_erff(float x, float gauss) {
    float a = fabsf(x), t = 1.0f / (1.0f + 0.3275911f * a);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return copysignf(1.0f - p * t * gauss, x);
}

#endif
