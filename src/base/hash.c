/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/hash.h"

#include <xxhash.h>

uint64_t sd_hash(const void *data, size_t bytes) { return XXH3_64bits(data, bytes); }
