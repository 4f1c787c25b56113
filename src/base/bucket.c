/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/bucket.h"

#include <stdint.h>

size_t sd_wire_value_bytes(bool bf16) { return bf16 ? sizeof(uint16_t) : sizeof(float); }

bool sd_bucket_add(sd_bucket *open, size_t max_elems, sd_bucket segment, bool is_sent, sd_bucket *complete) {
    const bool joins =
        is_sent && open->first_elem + open->elems == segment.first_elem && open->elems + segment.elems <= max_elems;
    const bool ends = open->elems > 0 && !joins;
    if (ends) {
        *complete = *open;
        open->elems = 0;
    }
    if (!is_sent)
        return ends;
    if (open->elems == 0)
        open->first_elem = segment.first_elem;
    open->elems += segment.elems;
    return ends;
}
