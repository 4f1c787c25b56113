/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: bad_images.txt, the images that could not be decoded (data.on_bad_image = skip), a line "path:
 * reason" each, sorted. Every rank meets those of its own shards; whichever number of ranks a run has had, and however
 * often it was resumed, the file holds those of all epochs before its last checkpoint. */
#ifndef SDTRAIN_TRAIN_BAD_IMAGES_H
#define SDTRAIN_TRAIN_BAD_IMAGES_H

#include "run.h"

/* Gathers what ranks have met since the last time, and writes the file anew if there is something new; a warning says
 * how many there are. Collective. */
sd_status sd_run_list_bad_images(sd_run *run);

#endif
