/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: elements of foreign files, little-endian and not aligned, to and from numbers of this
 * machine. */
#ifndef SDTRAIN_CHECKPOINT_ELEMENTS_H
#define SDTRAIN_CHECKPOINT_ELEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/weights.h"

/* Which of the two functions reads a dtype; neither, for some. */
bool sd_dtype_is_float(sd_dtype dtype);
bool sd_dtype_is_integer(sd_dtype dtype);

/* bytes: [n] elements of F64 (rounded to nearest even), F32, F16 or BF16 (exact; NaNs keep sign and payload). */
void sd_elements_to_floats(sd_dtype dtype, const unsigned char *bytes, size_t n, float *values);

/* bytes: [n] elements of BOOL (0, or 1 for all else), I8 to I64, U8 to U32. */
void sd_elements_to_integers(sd_dtype dtype, const unsigned char *bytes, size_t n, int64_t *integers);

/* [n] F32 and I64 to bytes. */
void sd_elements_from_floats(const float *values, size_t n, unsigned char *bytes);
void sd_elements_from_integers(const int64_t *integers, size_t n, unsigned char *bytes);

/* A number of 8 bytes. */
uint64_t sd_elements_get_u64(const unsigned char *bytes);
void sd_elements_put_u64(uint64_t number, unsigned char *bytes);

#endif
