/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: which gradients travel in one message. Local and pure.
 *
 * A bucket is the largest range of adjacent segments (sdtrain/nn.h) that are sent, up to a number of bytes on the wire;
 * a segment that is larger is a bucket of its own. Segments are offered in the order of the gradient buffer:
 *
 *     gradients | head | block L | block L-1 not sent | block L-2 | ... | stem |
 *               '----bucket 0----'                    '----bucket 1-----------' */
#ifndef SDTRAIN_BUCKET_H
#define SDTRAIN_BUCKET_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_bucket {
    size_t first_elem, elems; /* of the gradient buffer; elems = 0: empty */
} sd_bucket;

/* Of a value on the wire: communication.wire = bf16, or fp32. */
size_t sd_wire_value_bytes(bool bf16);

/* Offers the next segment to the open bucket, which it joins, or which it ends and begins anew. True: *complete has
 * ended without it. After the last segment what is open is the last bucket, if it is not empty. max_elems:
 * bucket_bytes / sd_wire_value_bytes(). */
bool sd_bucket_add(sd_bucket *open, size_t max_elems, sd_bucket segment, bool is_sent, sd_bucket *complete);

#ifdef __cplusplus
}
#endif
#endif
