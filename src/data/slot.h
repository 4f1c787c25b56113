/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the memory of one batch, and its preparation. */
#ifndef SDTRAIN_DATA_SLOT_H
#define SDTRAIN_DATA_SLOT_H

#include "bad_images.h"
#include "sdtrain/data.h"

typedef struct sd_slot {
    int images, left_out, max_images;
    sd_input input;     /* views of what follows */
    float *pixels;      /* [max_images, size, size, SD_CHANNELS]; NULL: of texts */
    int32_t *tokens;    /* [max_images, sequence]; NULL: of images */
    int32_t *lengths;   /* [max_images] */
    int32_t *seconds;   /* [max_images] */
    int32_t *masked;    /* [max_images * masked tokens of a text, at most]; NULL: none are masked */
    int32_t *ends;      /* [max_images]: of the images' masked tokens */
    int32_t *labels;    /* [max_images], or like masked */
    sd_outcome outcome; /* of the first image, in batch order, that could not be prepared */
} sd_slot;

/* SD_ERR_MEMORY; free it in any case. */
sd_status sd_slot_init(sd_slot *slot, const sd_dataset *dataset, int max_images);
void sd_slot_free(sd_slot *slot);

/* Prepares batch b of a pass, in the calling thread. A pure function of the data, the pass and b; what is bad is noted
 * in `bad`. From the first image on that fails, images are zeros with label 0. */
void sd_slot_fill(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, uint64_t b, sd_workspace *work,
                  sd_bad_images *bad);

/* What sd_slot_fill() does with an empty slot. */
void sd_slot_fill_images(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, sd_range range,
                         sd_workspace *work, sd_bad_images *bad);
void sd_slot_fill_texts(sd_slot *slot, const sd_dataset *dataset, const sd_loader_pass *pass, sd_range range);

#endif
