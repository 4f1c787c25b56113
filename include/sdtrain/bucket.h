/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: gradients that are sent in one message. Local and pure.
 *
 * A bucket is a maximal range of adjacent sent segments (sdtrain/nn.h) of at most bucket_bytes on the wire; a larger
 * segment is a bucket of its own, and one of which only the beginning is sent is the last of its bucket. Segments are
 * added in the order of the gradient buffer:
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

/* Bytes of a value on the wire: 2 as bf16, else 4. */
size_t sd_wire_value_bytes(bool bf16);

/* Adds the next segment, if it is sent, to the open bucket. True if a bucket ends before it (it does not fit, does not
 * follow without a gap, or is not sent): that bucket is *complete, and *open begins anew. After the last segment *open
 * is the last bucket, if it is not empty. max_elems: bucket_bytes / sd_wire_value_bytes(). */
bool sd_bucket_add(sd_bucket *open, size_t max_elems, sd_bucket segment, bool is_sent, sd_bucket *complete);

#ifdef __cplusplus
}
#endif
#endif
