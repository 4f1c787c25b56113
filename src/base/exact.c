/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -ffp-contract=off (CMakeLists.txt). frexp, ldexp and rint are exact and so the same everywhere. */
#include "sdtrain/exact.h"

#include <math.h>

/* ln 2 = LN2_HIGH + LN2_LOW; the first has 32 bits, so that its product with an exponent is exact. */
static const double LN2_HIGH = 0x1.62e42feep-1, LN2_LOW = 0x1.a39ef35793c76p-33;
static const double PER_LN2 = 0x1.71547652b82fep0; /* 1 / ln 2 */

/* The sum over i of c[i] x^i. */
static double polynomial(const double *c, int terms, double x) {
    double sum = 0;
    for (int i = terms - 1; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

/* x = k ln 2 + r with |r| <= ln 2 / 2;   e^x = 2^k (1 + r + r^2 (1/2! + r/3! + r^2/4! + ...)) */
double sd_exact_exp(double x) {
    static const double c[] = {1.0 / 2,         1.0 / 6,          1.0 / 24,         1.0 / 120,     1.0 / 720,
                               1.0 / 5040,      1.0 / 40320,      1.0 / 362880,     1.0 / 3628800, 1.0 / 39916800,
                               1.0 / 479001600, 1.0 / 6227020800, 1.0 / 87178291200}; /* what is cut off: below 2^-62 */
    if (isnan(x))
        return x;
    if (x > 710)
        return INFINITY;
    if (x < -746)
        return 0;
    const double k = rint(x * PER_LN2);
    const double high = x - k * LN2_HIGH, low = k * LN2_LOW;
    const double r = high - low;
    const double lost = (high - r) - low; /* that r was rounded by */
    const double y = 1 + (r + (lost + r * r * polynomial(c, sizeof c / sizeof c[0], r)));
    return ldexp(y, (int)k);
}

/* x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), s = f / (2 + f);
 *     log(1 + f) = 2 artanh(s) = 2s + s R,   R = 2 s^2 (1/3 + s^2/5 + s^4/7 + ...)
 *                = f - s (f - R),            as 2s = f - s f: f is exact, and only the small term is rounded twice */
double sd_exact_log(double x) {
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                               2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23}; /* what is cut off: below 2^-64 */
    if (isnan(x) || x < 0)
        return NAN;
    if (x == 0)
        return -INFINITY;
    if (isinf(x))
        return x;
    int k;
    double m = frexp(x, &k); /* in [1/2, 1) */
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        k--;
    }
    const double f = m - 1, s = f / (2 + f);
    const double square = s * s, rest = square * polynomial(c, sizeof c / sizeof c[0], square);
    return k * LN2_HIGH + (f - (s * (f - rest) - k * LN2_LOW));
}
