/* SPDX-License-Identifier: Apache-2.0 */
#include "slot.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

sd_status sd_slot_init(sd_slot *slot, const sd_dataset *dataset, int max_images) {
    SD_TRY(sd_alloc_floats(&slot->pixels, (size_t)max_images * sd_sample_elems(sd_dataset_samples(dataset))));
    return sd_alloc(&slot->labels, (size_t)max_images, sizeof *slot->labels);
}

void sd_slot_free(sd_slot *slot) {
    free(slot->pixels);
    free(slot->labels);
    *slot = (sd_slot){0};
}

static void clear(sd_slot *slot, size_t elems, uint64_t first) {
    const uint64_t images = (uint64_t)slot->images - first;
    memset(slot->pixels + first * elems, 0, images * elems * sizeof *slot->pixels);
    memset(slot->labels + first, 0, images * sizeof *slot->labels);
}

void sd_slot_fill(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, uint64_t b,
                  sd_workspace *work) {
    const sd_range range = pass->ranges[b];
    const size_t elems = sd_sample_elems(sd_dataset_samples(dataset));
    slot->images = (int)range.count;
    slot->outcome.status = SD_OK;
    for (uint64_t i = 0; i < range.count; i++) {
        const uint64_t at = range.first + i;
        const uint32_t index = pass->order ? pass->order[at] : (uint32_t)at;
        sd_outcome_keep(&slot->outcome, sd_dataset_prepare(dataset, pass->split, index, pass->augment, pass->seed,
                                                           pass->epoch, work, slot->pixels + i * elems));
        if (slot->outcome.status != SD_OK) {
            clear(slot, elems, i);
            return;
        }
        slot->labels[i] = work->image.label;
    }
}
