/* SPDX-License-Identifier: Apache-2.0 */
#include "transform.h"

sd_transform sd_transform_of(sd_augment augment) {
    static const sd_transform transforms[] = {
        [SD_AUGMENT_NONE] = sd_transform_none,
        [SD_AUGMENT_CROP_FLIP] = sd_transform_crop_flip,
    };
    return transforms[augment];
}

sd_status sd_transform_check_size(const sd_sample *image, int size) {
    if (image->h == size && image->w == size)
        return SD_OK;
    return sd_fail(SD_ERR_DATA, "an image of %d x %d pixels does not fit a network for %d x %d", image->h, image->w,
                   size, size);
}

sd_status sd_transform_none(sd_workspace *work, int size, sd_draws *draws) {
    (void)draws;
    return sd_transform_check_size(&work->image, size);
}
