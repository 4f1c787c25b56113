/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: an XXH3-128 as text. */
#ifndef SDTRAIN_CHECKPOINT_DIGEST_H
#define SDTRAIN_CHECKPOINT_DIGEST_H

#include <stdio.h>
#include <xxhash.h>

enum { SD_DIGEST_BYTES = 33 };

/* In hexadecimal, as `xxhsum -H128` prints it. Returns text. */
static inline const char *sd_digest_text(XXH128_hash_t hash, char text[SD_DIGEST_BYTES]) {
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, hash);
    for (size_t i = 0; i < sizeof digest.digest; i++)
        sprintf(text + 2 * i, "%02x", digest.digest[i]);
    return text;
}

#endif
