/* SPDX-License-Identifier: Apache-2.0 */
/* Whether values are finite: no NaN, no infinity. Local. */
#ifndef SDTRAIN_FINITE_H
#define SDTRAIN_FINITE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether all values are finite. Costs one read of memory. */
bool sd_all_finite(const float *values, size_t elems);

#ifdef __cplusplus
}
#endif
#endif
