/* SPDX-License-Identifier: Apache-2.0 */
/* One hash for all that is compared between ranks or with a checkpoint. Local. */
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
