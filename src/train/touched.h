/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: the ids that the texts of a batch have, over all ranks. Every rank holds all texts and knows the
 * order, so it knows them before the step, without a word. Of the table of embeddings these rows alone have gradients.
 */
#ifndef SDTRAIN_TRAIN_TOUCHED_H
#define SDTRAIN_TRAIN_TOUCHED_H

#include "sdtrain/data.h"

typedef struct sd_touched {
    int vocabulary; /* 0: of images, there are no ids */
    unsigned char *is_touched;
    int32_t *row;
    sd_row_set rows; /* of the last batch that was looked at */
} sd_touched;

/* Local. SD_ERR_MEMORY; close in any case. */
sd_status sd_touched_open(sd_touched *touched, sd_sample_spec samples);
void sd_touched_close(sd_touched *touched);

/* The ids in these training texts, valid until the next call; NULL: of images. texts: [n], indices in the split. */
const sd_row_set *sd_touched_by(sd_touched *touched, const sd_dataset *dataset, const uint32_t *texts, uint64_t n);

#endif
