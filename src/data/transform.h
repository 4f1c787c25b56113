/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: transforms of images, as bytes, from the source's size to the network's. */
#ifndef SDTRAIN_DATA_TRANSFORM_H
#define SDTRAIN_DATA_TRANSFORM_H

#include "draws.h"
#include "sdtrain/data.h"

/* Transforms work->image to [size, size, 3]. A pure function of image, size and drawn words (any number); may use
 * work->spare and swap the two. SD_ERR_DATA if the image cannot be made to fit. */
typedef sd_status (*sd_transform)(sd_workspace *work, int size, sd_draws *draws);

/* The transform that data.augment names. */
sd_transform sd_transform_of(sd_augment augment);

/* No transform. */
sd_status sd_transform_none(sd_workspace *work, int size, sd_draws *draws);
/* A crop of the image in a border of 4 black pixels, mirrored half the time (He et al. 2016, section 4.2). */
sd_status sd_transform_crop_flip(sd_workspace *work, int size, sd_draws *draws);

/* SD_ERR_DATA unless the image is [size, size, 3]: for transforms that do not resize. */
sd_status sd_transform_check_size(const sd_sample *image, int size);

/* Makes the spare the image, with the image's label. */
void sd_workspace_swap(sd_workspace *work);
/* Makes room for images of h x w in both. SD_ERR_MEMORY. */
sd_status sd_workspace_reserve(sd_workspace *work, int h, int w);

#endif
