/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/finite.h"

#include <stdint.h>
#include <string.h>

/* A float is infinite or not a number if the bits of its exponent are all ones: one more then carries into the sign.
 * Three integer operations a value, which vectorise with any instruction set. */
bool sd_all_finite(const float *values, size_t elems) {
    const uint32_t exponent = 0x7f800000, one = 0x00800000;
    uint32_t carried = 0;
    for (size_t i = 0; i < elems; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        carried |= (bits & exponent) + one;
    }
    return carried >> 31 == 0;
}
