/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a data set over a source that is open. */
#ifndef SDTRAIN_DATA_DATASET_H
#define SDTRAIN_DATA_DATASET_H

#include "source.h"

/* Splits the source and measures its normalisation. The source is closed with the data set, or at once if this
 * fails; *dataset is NULL then. SD_ERR_CONFIG, SD_ERR_MEMORY, and what the source's read returns. */
sd_status sd_dataset_of(const sd_data_spec *spec, sd_source *source, sd_dataset **dataset);

#endif
