/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: transforms of images, as bytes, from the source's size to the network's. */
#ifndef SDTRAIN_DATA_TRANSFORM_H
#define SDTRAIN_DATA_TRANSFORM_H

#include "draws.h"
#include "sdtrain/data.h"

/* What images become, whatever they were. */
typedef struct sd_geometry {
    int size;          /* pixels of a side */
    sd_filter filter;  /* of resizing */
    int center_source; /* without augmentation: the shorter side from which the centre is cropped, >= size */
} sd_geometry;
sd_geometry sd_geometry_of(const sd_data_spec *spec, int size);

/* Transforms work->image to [size, size, 3]. A pure function of image, geometry and drawn words (any number); may use
 * work->spare and swap the two. SD_ERR_DATA if the image cannot be made to fit; SD_ERR_MEMORY. */
typedef sd_status (*sd_transform)(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws);

/* The transform that data.augment names. */
sd_transform sd_transform_of(sd_augment augment);

/* The centre, of the image resized so that its shorter side is center_source (torchvision's Resize and CenterCrop). An
 * image that has this size already stays as it is. */
sd_status sd_transform_center(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws);
/* The image, resized so that its shorter side is size, and its centre; of that a crop in a border of 4 black pixels,
 * mirrored half the time (He et al. 2016, section 4.2). */
sd_status sd_transform_crop_flip(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws);
/* A random rectangle of 8 % to 100 % of the area and 3:4 to 4:3, resized, mirrored half the time (torchvision's
 * RandomResizedCrop and RandomHorizontalFlip; Szegedy et al. 2015). */
sd_status sd_transform_resized_crop(sd_workspace *work, const sd_geometry *geometry, sd_draws *draws);

/* Makes the spare the image, with the image's label. */
void sd_workspace_swap(sd_workspace *work);
/* Makes room for images of h x w in both. SD_ERR_MEMORY. */
sd_status sd_workspace_reserve(sd_workspace *work, int h, int w);
/* The memory of resizes, made when it is first wanted. SD_ERR_MEMORY. */
sd_status sd_workspace_resizer(sd_workspace *work, struct sd_resizer **resizer);

#endif
