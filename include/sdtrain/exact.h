/* SPDX-License-Identifier: Apache-2.0 */
/* exp and log with the same bits on every host.
 *
 * Local. The C library picks other variants on processors with fused multiply-add, so hosts may differ in the last bit;
 * what all ranks must decide alike, or a rerun must find again, takes these. Only IEEE 754 double additions,
 * multiplications and divisions in a fixed order, compiled without contraction; rounding to nearest is assumed. Error
 * below 1 ulp, but for subnormal results of exp (rounded twice). */
#ifndef SDTRAIN_EXACT_H
#define SDTRAIN_EXACT_H

#ifdef __cplusplus
extern "C" {
#endif

/* e^x; infinite above 709.78, 0 below -745.13, NaN of NaN. */
double sd_exact_exp(double x);

/* The natural logarithm; -infinity of 0, NaN of negative numbers and NaN. */
double sd_exact_log(double x);

#ifdef __cplusplus
}
#endif
#endif
