/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of texts, which all lie in memory as ids: they are copied, padded, and for a masked language model masked. */
#include <string.h>

#include "dataset.h"
#include "slot.h"

void sd_slot_fill_texts(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, sd_range range) {
    const int32_t sequence = sd_dataset_samples(dataset).sequence, padding = sd_dataset_special(dataset)->pad;
    int32_t masked = 0;
    for (uint64_t at = range.first; at < range.first + range.count; at++) {
        const uint32_t index = pass->order ? pass->order[at] : (uint32_t)at;
        const sd_text text = sd_dataset_text(dataset, pass->split, index);
        const int32_t i = slot->images++;
        int32_t *ids = slot->tokens + i * sequence;
        memcpy(ids, text.ids, (size_t)text.length * sizeof *ids);
        for (int32_t t = text.length; t < sequence; t++)
            ids[t] = padding;
        slot->lengths[i] = text.length;
        slot->seconds[i] = text.second;
        if (!slot->masked)
            slot->labels[i] = text.label;
        else
            slot->ends[i] = masked +=
                sd_dataset_mask(dataset, pass, index, ids, i * sequence, slot->masked + masked, slot->labels + masked);
    }
}
