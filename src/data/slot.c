/* SPDX-License-Identifier: Apache-2.0 */
#include "slot.h"

#include <stdlib.h>

#include "dataset.h"
#include "sdtrain/arena.h"

static sd_status init_texts(sd_slot *slot, const sd_dataset *dataset) {
    const size_t texts = (size_t)slot->max_images, sequence = sd_sample_elems(sd_dataset_samples(dataset));
    SD_TRY(sd_alloc(&slot->tokens, texts * sequence, sizeof *slot->tokens));
    SD_TRY(sd_alloc(&slot->lengths, texts, sizeof *slot->lengths));
    SD_TRY(sd_alloc(&slot->seconds, texts, sizeof *slot->seconds));
    slot->input = (sd_input){.tokens = slot->tokens, .lengths = slot->lengths, .second = slot->seconds};
    if (sd_dataset_objective(dataset) != SD_OBJECTIVE_MLM)
        return sd_alloc(&slot->labels, texts, sizeof *slot->labels);
    const size_t masked = texts * (size_t)sd_masked_most((int)sequence);
    SD_TRY(sd_alloc(&slot->masked, masked, sizeof *slot->masked));
    SD_TRY(sd_alloc(&slot->ends, texts, sizeof *slot->ends));
    slot->input.masked = slot->masked;
    slot->input.masked_ends = slot->ends;
    return sd_alloc(&slot->labels, masked, sizeof *slot->labels);
}

static sd_status init_images(sd_slot *slot, const sd_dataset *dataset) {
    const size_t images = (size_t)slot->max_images, elems = sd_sample_elems(sd_dataset_samples(dataset));
    SD_TRY(sd_alloc_floats(&slot->pixels, images * elems));
    slot->input = (sd_input){.pixels = slot->pixels};
    return sd_alloc(&slot->labels, images, sizeof *slot->labels);
}

sd_status sd_slot_init(sd_slot *slot, const sd_dataset *dataset, int max_images) {
    slot->max_images = max_images;
    return sd_samples_are_texts(sd_dataset_samples(dataset)) ? init_texts(slot, dataset) : init_images(slot, dataset);
}

void sd_slot_free(sd_slot *slot) {
    free(slot->pixels);
    free(slot->tokens);
    free(slot->lengths);
    free(slot->seconds);
    free(slot->masked);
    free(slot->ends);
    free(slot->labels);
    *slot = (sd_slot){0};
}

void sd_slot_fill(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, uint64_t b, sd_workspace *work,
                  sd_bad_images *bad) {
    slot->images = slot->left_out = 0;
    slot->outcome.status = SD_OK;
    if (slot->tokens)
        sd_slot_fill_texts(slot, dataset, pass, pass->ranges[b]);
    else
        sd_slot_fill_images(slot, dataset, pass, pass->ranges[b], work, bad);
}
