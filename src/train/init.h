/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: model.init, the weights that a new run begins with. Rank 0 reads the file, once: later starts go
 * on from a checkpoint, which keeps path and digest of the file in /config. */
#ifndef SDTRAIN_TRAIN_INIT_H
#define SDTRAIN_TRAIN_INIT_H

#include "sdtrain/config.h"
#include "sdtrain/models.h"

typedef struct sd_run sd_run;
typedef struct sd_resume sd_resume;

enum { SD_INIT_BYTES = SD_CONFIG_TEXT + SD_ADOPTION_BYTES + 64 };

/* Takes over the values of the file that config names, if it names one, on all ranks of a run with its initial values,
 * and writes the file's digest into config, which is the run's own. text: "FILE (XXH3-128 DIGEST): 150 of 152 tensors
 * adopted; ..."; "" if it names none. Collective. SD_ERR_NOINPUT; SD_ERR_DATA if the file is damaged, of another model,
 * or not that of the digest which config has already. */
sd_status sd_init_adopt(sd_run *run, sd_config *config, char text[SD_INIT_BYTES]);

/* Writes what a checkpoint's run began with into config; no effect if none was found. Local. */
void sd_init_keep(const sd_resume *resume, sd_config *config);

#endif
