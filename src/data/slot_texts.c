/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of texts, which all lie in memory as ids: they are copied, and padded. */
#include <string.h>

#include "dataset.h"
#include "slot.h"

void sd_slot_fill_texts(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, sd_range range) {
    const int32_t sequence = sd_dataset_samples(dataset).sequence, padding = sd_dataset_padding(dataset);
    int32_t *ids = slot->tokens;
    for (uint64_t at = range.first; at < range.first + range.count; at++, ids += sequence) {
        const sd_text text = sd_dataset_text(dataset, pass->split, pass->order ? pass->order[at] : (uint32_t)at);
        memcpy(ids, text.ids, (size_t)text.length * sizeof *ids);
        for (int32_t t = text.length; t < sequence; t++)
            ids[t] = padding;
        slot->lengths[slot->images] = text.length;
        slot->seconds[slot->images] = text.second;
        slot->labels[slot->images++] = text.label;
    }
}
