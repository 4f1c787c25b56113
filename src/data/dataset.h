/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a data set over an open source. */
#ifndef SDTRAIN_DATA_DATASET_H
#define SDTRAIN_DATA_DATASET_H

#include "source.h"

/* Splits the source and measures its normalisation. The data set owns the source and closes it, also on failure, when
 * *dataset is NULL. SD_ERR_CONFIG, SD_ERR_MEMORY, and errors of the source's read. */
sd_status sd_dataset_of(const sd_data_spec *spec, sd_source *source, sd_dataset **dataset);

/* Of texts: one of a split, and the id that is written behind it. */
sd_text sd_dataset_text(const sd_dataset *dataset, sd_split split, uint32_t index);
int32_t sd_dataset_padding(const sd_dataset *dataset);

/* data.on_bad_image. */
sd_bad_image sd_dataset_on_bad_image(const sd_dataset *dataset);

#endif
