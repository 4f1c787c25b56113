/* SPDX-License-Identifier: Apache-2.0 */
/* Whether values are finite: no NaN, no infinity. Local. */
#ifndef SDTRAIN_FINITE_H
#define SDTRAIN_FINITE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* False if any is infinite or not a number. Cheap enough for every step: it costs what reading them costs. */
bool sd_all_finite(const float *values, size_t elems);

#ifdef __cplusplus
}
#endif
#endif
