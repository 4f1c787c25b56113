/* SPDX-License-Identifier: Apache-2.0 */
/* Private: a family of models is a file with one of these, called sd_<family>_family, and a row of
 * SD_MODEL_FAMILIES. */
#ifndef SDTRAIN_MODELS_FAMILY_H
#define SDTRAIN_MODELS_FAMILY_H

#include "sdtrain/build.h"
#include "sdtrain/models.h"

typedef struct sd_model_family {
    bool (*matches)(const char *name);
    /* Builds the network of a name that matches, up to, without, sd_network_finish(). */
    sd_status (*build)(const sd_model_spec *spec, sd_network *network);
} sd_model_family;

#endif
