/* SPDX-License-Identifier: Apache-2.0 */
#include "elements.h"

#include <string.h>

/* ---- bytes ---- */

static uint16_t get_u16(const unsigned char *b) { return (uint16_t)(b[0] | b[1] << 8); }

static uint32_t get_u32(const unsigned char *b) {
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void put_u32(uint32_t number, unsigned char *b) {
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(number >> 8 * i);
}

uint64_t sd_elements_get_u64(const unsigned char *bytes) { return get_u32(bytes) | (uint64_t)get_u32(bytes + 4) << 32; }

void sd_elements_put_u64(uint64_t number, unsigned char *bytes) {
    put_u32((uint32_t)number, bytes);
    put_u32((uint32_t)(number >> 32), bytes + 4);
}

/* ---- floats: moved as bits, as an assignment may quiet a NaN ---- */

/* IEEE 754 binary16 [1 | 5 | 10] to binary32 [1 | 8 | 23]. */
static uint32_t widen_f16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0x1f)
        return sign | 0x7f800000 | fraction << 13;
    if (exponent > 0)
        return sign | (exponent + 127 - 15) << 23 | fraction << 13;
    if (fraction == 0)
        return sign;
    uint32_t shift = 0; /* fraction 2^-24 = 1.f 2^(-14 - shift) */
    for (; !(fraction & 0x400); shift++)
        fraction <<= 1;
    return sign | (127 - 14 - shift) << 23 | (fraction & 0x3ff) << 13;
}

static uint32_t narrow_f64(uint64_t bits) {
    double wide;
    memcpy(&wide, &bits, sizeof wide);
    const float narrow = (float)wide;
    uint32_t narrow_bits;
    memcpy(&narrow_bits, &narrow, sizeof narrow_bits);
    return narrow_bits;
}

bool sd_dtype_is_float(sd_dtype dtype) {
    return dtype == SD_DTYPE_F64 || dtype == SD_DTYPE_F32 || dtype == SD_DTYPE_F16 || dtype == SD_DTYPE_BF16;
}

#define EACH_FLOAT(bytes_each, f32_bits)                                                                               \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        const unsigned char *b = bytes + i * (bytes_each);                                                             \
        const uint32_t bits = (f32_bits);                                                                              \
        memcpy(&values[i], &bits, sizeof bits);                                                                        \
    }                                                                                                                  \
    break

void sd_elements_to_floats(sd_dtype dtype, const unsigned char *bytes, size_t n, float *values) {
    switch (dtype) {
    case SD_DTYPE_F64:
        EACH_FLOAT(8, narrow_f64(sd_elements_get_u64(b)));
    case SD_DTYPE_F32:
        EACH_FLOAT(4, get_u32(b));
    case SD_DTYPE_F16:
        EACH_FLOAT(2, widen_f16(get_u16(b)));
    case SD_DTYPE_BF16:
        EACH_FLOAT(2, (uint32_t)get_u16(b) << 16);
    default:
        break;
    }
}

void sd_elements_from_floats(const float *values, size_t n, unsigned char *bytes) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_u32(bits, bytes + 4 * i);
    }
}

/* ---- integers ---- */

bool sd_dtype_is_integer(sd_dtype dtype) {
    switch (dtype) {
    case SD_DTYPE_BOOL:
    case SD_DTYPE_I8:
    case SD_DTYPE_U8:
    case SD_DTYPE_I16:
    case SD_DTYPE_U16:
    case SD_DTYPE_I32:
    case SD_DTYPE_U32:
    case SD_DTYPE_I64:
        return true;
    default:
        return false;
    }
}

#define EACH_INTEGER(bytes_each, integer)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        const unsigned char *b = bytes + i * (bytes_each);                                                             \
        integers[i] = (integer);                                                                                       \
    }                                                                                                                  \
    break

void sd_elements_to_integers(sd_dtype dtype, const unsigned char *bytes, size_t n, int64_t *integers) {
    switch (dtype) {
    case SD_DTYPE_BOOL:
        EACH_INTEGER(1, *b != 0);
    case SD_DTYPE_I8:
        EACH_INTEGER(1, (int8_t)*b);
    case SD_DTYPE_U8:
        EACH_INTEGER(1, *b);
    case SD_DTYPE_I16:
        EACH_INTEGER(2, (int16_t)get_u16(b));
    case SD_DTYPE_U16:
        EACH_INTEGER(2, get_u16(b));
    case SD_DTYPE_I32:
        EACH_INTEGER(4, (int32_t)get_u32(b));
    case SD_DTYPE_U32:
        EACH_INTEGER(4, get_u32(b));
    case SD_DTYPE_I64:
        EACH_INTEGER(8, (int64_t)sd_elements_get_u64(b));
    default:
        break;
    }
}

void sd_elements_from_integers(const int64_t *integers, size_t n, unsigned char *bytes) {
    for (size_t i = 0; i < n; i++)
        sd_elements_put_u64((uint64_t)integers[i], bytes + 8 * i);
}
