/* SPDX-License-Identifier: Apache-2.0 */
/* Named arrays that another program has trained, or that it is to be given: what models adopt, and what an export
 * writes. Local. Whoever reads the file (safetensors.h) fills them in. */
#ifndef SDTRAIN_WEIGHTS_H
#define SDTRAIN_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, bits of an element): the element types of safetensors 0.8, in that library's order of alignment, least
 * first. */
#define SD_DTYPE_LIST(X)                                                                                               \
    X(BOOL, 8)                                                                                                         \
    X(F4, 4)                                                                                                           \
    X(F6_E2M3, 6)                                                                                                      \
    X(F6_E3M2, 6)                                                                                                      \
    X(U8, 8)                                                                                                           \
    X(I8, 8)                                                                                                           \
    X(F8_E5M2, 8)                                                                                                      \
    X(F8_E4M3, 8)                                                                                                      \
    X(F8_E8M0, 8)                                                                                                      \
    X(F8_E4M3FNUZ, 8)                                                                                                  \
    X(F8_E5M2FNUZ, 8)                                                                                                  \
    X(I16, 16)                                                                                                         \
    X(U16, 16)                                                                                                         \
    X(F16, 16)                                                                                                         \
    X(BF16, 16)                                                                                                        \
    X(I32, 32)                                                                                                         \
    X(U32, 32)                                                                                                         \
    X(F32, 32)                                                                                                         \
    X(C64, 64)                                                                                                         \
    X(F64, 64)                                                                                                         \
    X(I64, 64)                                                                                                         \
    X(U64, 64)

typedef enum sd_dtype {
#define SD_DTYPE_ENUM(name, bits) SD_DTYPE_##name,
    SD_DTYPE_LIST(SD_DTYPE_ENUM)
#undef SD_DTYPE_ENUM
} sd_dtype;

enum { SD_WEIGHT_DIMS = 8 };

typedef struct sd_weight {
    const char *name; /* UTF-8, as in PyTorch's state_dict */
    sd_dtype dtype;   /* of the file it was read from */
    int dims;         /* 0: a scalar, of one element */
    size_t shape[SD_WEIGHT_DIMS];
    size_t elems;            /* product of shape; may be 0 */
    const float *values;     /* [elems] f32, row-major, PyTorch's layout; of F64, F32, F16, BF16, else NULL */
    const int64_t *integers; /* [elems], likewise; of BOOL (0 or 1), I8 to I64, U8 to U32, else NULL */
} sd_weight;                 /* of other dtypes, such as U64 and F8_E4M3: both NULL */

typedef struct sd_weights_text {
    const char *key, *value; /* UTF-8 */
} sd_weights_text;

/* Zeros are valid: no weights. */
typedef struct sd_weights {
    int n;
    sd_weight *weight; /* [n] sorted by name (strcmp), no name twice */
    int n_metadata;
    sd_weights_text *metadata; /* [n_metadata] sorted by key, no key twice */
    char digest[33];           /* XXH3-128 of the whole file, hexadecimal, as `xxhsum -H128` prints it; "": no file */
    void *memory;              /* that all pointers lead into, names as well; NULL: the caller's own */
} sd_weights;

/* The weight of this name, or NULL. */
const sd_weight *sd_weights_find(const sd_weights *weights, const char *name);

/* What the metadata says under this key, or NULL. */
const char *sd_weights_metadata(const sd_weights *weights, const char *key);

/* Frees the memory, and makes it zeros. */
void sd_weights_free(sd_weights *weights);

/* ---- for those who fill weights in ---- */

/* The memory of weights, one block:
 *     numbers, each tensor's aligned to 8 bytes | weights | metadata | texts         */
typedef struct sd_weights_block {
    size_t number_bytes, n, n_metadata, text_bytes; /* that there must be room for; the texts with their zeros */
    unsigned char *numbers;                         /* what is left of each */
    char *texts;
} sd_weights_block;

/* The bytes of a tensor's numbers in the block. */
size_t sd_weights_number_bytes(size_t elems, size_t elem_bytes);
/* Takes the memory, from zeros: counts stay 0, the tables have room for n and n_metadata. SD_ERR_MEMORY. */
sd_status sd_weights_take(sd_weights *weights, sd_weights_block *block);
/* The next numbers, to be filled in; a copy of a text. */
void *sd_weights_take_numbers(sd_weights_block *block, size_t number_bytes);
const char *sd_weights_take_text(sd_weights_block *block, const char *text);
/* Sorts by name, as find expects it. */
void sd_weights_sort(sd_weights *weights);

/* "F32", and 32. */
const char *sd_dtype_name(sd_dtype dtype);
unsigned sd_dtype_bits(sd_dtype dtype);

#ifdef __cplusplus
}
#endif
#endif
