/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: which rectangle of a picture a network sees, by the conventions of torchvision and timm, and its
 * pixels. "Rounded" is to the nearest whole number, halves to even, as Python's round(). */
#ifndef SDTRAIN_DATA_CROP_H
#define SDTRAIN_DATA_CROP_H

#include "draws.h"
#include "resize.h"

/* timm's evaluation resizes the shorter side to floor(size / crop_pct) before it crops size x size; at least 1.
 * 0 < crop_pct <= 1. */
int sd_crop_pct_size(int size, double crop_pct);

/* torchvision's Resize(shorter): the longer side becomes shorter * longer side / shorter side, cut to a whole number.
 * SD_ERR_DATA if an int does not hold it. */
sd_status sd_shorter_side_size(int width, int height, int shorter, int *to_width, int *to_height);

/* torchvision's CenterCrop, along one side: where the crop begins, round((length - crop) / 2). Where the crop is longer
 * than the side, -floor((crop - length) / 2): padding before the picture. */
int sd_center_crop_offset(int length, int crop);

/* Training: the ranges of a crop's share of the picture's area and of its width / height. */
typedef struct sd_random_crop {
    double area[2];  /* 0 < area[0] <= area[1]; usually 0.08, 1 */
    double ratio[2]; /* 0 < ratio[0] <= ratio[1]; usually 3/4, 4/3 */
} sd_random_crop;

/* RandomResizedCrop.get_params() of torchvision, in double as timm's: up to 10 times draws the area (uniform) and the
 * ratio (exp of uniform between logarithms); the first rectangle of rounded sides that fits, at a place drawn for its
 * top and then its left; else the largest central one whose ratio is in range. Words: 2 an attempt, 2 for the place.
 * The same on all hosts. width, height: 1..SD_RESAMPLE_MAX. */
sd_rect sd_random_crop_draw(const sd_random_crop *crop, int width, int height, sd_draws *draws);

/* torchvision's resized_crop: crops, then resizes to size x size; the filter does not see what was cut off. crop:
 * within the picture. to: [size, size, 3]. Errors as of sd_resize(). */
sd_status sd_resized_crop(const sd_view *from, sd_rect crop, sd_filter filter, int size, uint8_t *to,
                          sd_resizer *resizer);

/* Resize(shorter) and CenterCrop(size), black where the resized picture is smaller. Computes only what is kept. to:
 * [size, size, 3]. Errors as of sd_resize(), and of sd_shorter_side_size(). */
sd_status sd_resized_center(const sd_view *from, int shorter, sd_filter filter, int size, uint8_t *to,
                            sd_resizer *resizer);

/* Mirrors in place: left becomes right. rgb: [height, width, 3] */
void sd_flip_horizontal(uint8_t *rgb, int width, int height);

#endif
