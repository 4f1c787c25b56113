/* SPDX-License-Identifier: Apache-2.0 */
/* The hash by which data are compared between ranks and with checkpoints. Local. */
#ifndef SDTRAIN_HASH_H
#define SDTRAIN_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* XXH3 (64 bits) of bytes. */
uint64_t sd_hash(const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
