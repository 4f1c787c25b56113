/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors files: weights to and from PyTorch, timm and Hugging Face.
 *
 *     bytes 0..7   N, the length of the header, little-endian
 *     N bytes      JSON: {"__metadata__": {KEY: TEXT, ...}, NAME: {"dtype": "F32", "shape": [2, 3],
 *                  "data_offsets": [begin, end]}, ...}, padded behind with spaces
 *     the rest     values, little-endian, row-major; offsets count from here
 *
 * Format: README and validation of the safetensors library (Hugging Face, 0.8). Everything here is local. */
#ifndef SDTRAIN_SAFETENSORS_H
#define SDTRAIN_SAFETENSORS_H

#include "sdtrain/status.h"
#include "sdtrain/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads all tensors; the whole header is checked against the length of the file before memory is taken for values.
 *
 * F32 keeps every bit, NaN payloads too; F16 and BF16 are exact (of a NaN, the payload's bits in the same places);
 * F64 is rounded to nearest even, beyond the range of f32 to infinity. Memory: at most eight times the file (BOOL to
 * int64), for floats at most twice.
 *
 * As the library does, refuses: N > 100,000,000; what is not JSON in UTF-8; an unknown dtype; ranges with a hole or
 * an overlap, or not as long as dtype and shape say; products beyond 64 bits; bytes behind the last tensor. Stricter
 * than the library, refuses: a tensor or key of metadata that is there twice (the library takes the last), other
 * members than these three of a tensor, __metadata__ null, names with a zero character, more than SD_WEIGHT_DIMS
 * dimensions, spaces in front of the header.
 *
 * On success the caller frees *weights; else it is zeros. SD_ERR_NOINPUT; SD_ERR_DATA with path, byte of the file and,
 * where it is about one, tensor; SD_ERR_MEMORY. */
sd_status sd_safetensors_read(const char *path, sd_weights *weights);

/* Writes the file whole or not at all (sd_file_write()). Same input, same bytes, those of the library: tensors sorted
 * by dtype, widest alignment first, then name; data at a multiple of 8 bytes.
 *
 * weights: in any order; values are written as F32 bit for bit, integers as I64, whatever their dtype says.
 * metadata: key, value, ..., NULL, written in this order; NULL: none. transformers takes only files that say
 * "format", "pt".
 *
 * SD_ERR_DATA: a name that is there twice, "__metadata__", or no UTF-8; elems that are not the product of shape; a
 * weight with neither values nor integers. SD_ERR_IO; SD_ERR_MEMORY. */
sd_status sd_safetensors_write(const char *path, const sd_weights *weights, const char *const *metadata);

#ifdef __cplusplus
}
#endif
#endif
