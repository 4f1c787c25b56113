/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a data set over an open source. */
#ifndef SDTRAIN_DATA_DATASET_H
#define SDTRAIN_DATA_DATASET_H

#include "source.h"

/* Splits the source and measures its normalisation. The data set owns the source and closes it, also on failure, when
 * *dataset is NULL. SD_ERR_CONFIG, SD_ERR_MEMORY, and errors of the source's read. */
sd_status sd_dataset_of(const sd_data_spec *spec, sd_source *source, sd_dataset **dataset);

sd_objective sd_dataset_objective(const sd_dataset *dataset);

/* Of texts: one of a split, and the ids that are no pieces of words. */
sd_text sd_dataset_text(const sd_dataset *dataset, sd_split split, uint32_t index);
const sd_special_tokens *sd_dataset_special(const sd_dataset *dataset);
/* Masks text `index` of a pass by the draws of (seed, epoch, text): sd_mask(). */
int sd_dataset_mask(const sd_dataset *dataset, const sd_loader_pass *pass, uint32_t index, int32_t *ids, int32_t place,
                    int32_t *places, int32_t *labels);

/* data.on_bad_image. */
sd_bad_image sd_dataset_on_bad_image(const sd_dataset *dataset);

#endif
