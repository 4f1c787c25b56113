/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of images: each may have to be read and decoded, which may fail. */
#include <string.h>

#include "dataset.h"
#include "slot.h"

enum { MAX_BAD_IN_A_ROW = 50 }; /* as timm: then it is not a damaged file that is wrong */

/* From the next image on, up to so many images, zeros. */
static void clear(sd_slot *slot, size_t elems, int images) {
    const size_t first = (size_t)slot->images, n = (size_t)images - first;
    memset(slot->pixels + first * elems, 0, n * elems * sizeof *slot->pixels);
    memset(slot->labels + first, 0, n * sizeof *slot->labels);
    slot->images = images;
}

/* One image, with on_bad_image = skip: a bad one is noted, and left out (*is_left_out), or the next good one of the
 * split stands in for it. */
static sd_status prepare_good(const sd_dataset *dataset, const sd_loader_pass *pass, uint32_t index, sd_workspace *work,
                              float *x, sd_bad_images *bad, bool *is_left_out) {
    const uint32_t images = sd_dataset_images(dataset, pass->split);
    for (int tries = 0; tries < MAX_BAD_IN_A_ROW; tries++) {
        const sd_status status =
            sd_dataset_prepare(dataset, pass->split, index, pass->augment, pass->seed, pass->epoch, work, x);
        if (status != SD_ERR_DATA)
            return status;
        sd_bad_images_note(bad, pass->split, images, index);
        *is_left_out = pass->scoring;
        if (pass->scoring)
            return SD_OK;
        index = index + 1 < images ? index + 1 : 0;
    }
    return sd_fail(SD_ERR_DATA, "data.on_bad_image = skip: %d images in a row cannot be decoded", MAX_BAD_IN_A_ROW);
}

/* Image index of the split, as the slot's next one. */
static sd_status prepare(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, uint32_t index,
                         sd_workspace *work, sd_bad_images *bad, bool *is_left_out) {
    float *x = slot->pixels + (size_t)slot->images * sd_sample_elems(sd_dataset_samples(dataset));
    if (sd_dataset_on_bad_image(dataset) == SD_BAD_IMAGE_SKIP)
        return prepare_good(dataset, pass, index, work, x, bad, is_left_out);
    return sd_dataset_prepare(dataset, pass->split, index, pass->augment, pass->seed, pass->epoch, work, x);
}

void sd_slot_fill_images(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, sd_range range,
                         sd_workspace *work, sd_bad_images *bad) {
    for (uint64_t at = range.first; at < range.first + range.count; at++) {
        const uint32_t index = pass->order ? pass->order[at] : (uint32_t)at;
        bool is_left_out = false;
        sd_outcome_keep(&slot->outcome, prepare(slot, dataset, pass, index, work, bad, &is_left_out));
        if (slot->outcome.status != SD_OK) {
            clear(slot, sd_sample_elems(sd_dataset_samples(dataset)), (int)range.count - slot->left_out);
            return;
        }
        slot->left_out += is_left_out;
        if (!is_left_out)
            slot->labels[slot->images++] = work->image.label;
    }
}
