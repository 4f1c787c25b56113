/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/finite.h"

#include <stdint.h>
#include <string.h>

/* The exponent of an infinity or NaN is all ones: adding one to it carries into the sign bit. Three integer operations
 * a value, which vectorise on any instruction set. */
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
