/* SPDX-License-Identifier: Apache-2.0 */
/* Private: a family of models is a file that defines sd_<family>_family, and a row of SD_MODEL_FAMILIES. */
#ifndef SDTRAIN_MODELS_FAMILY_H
#define SDTRAIN_MODELS_FAMILY_H

#include "sdtrain/build.h"
#include "sdtrain/models.h"

typedef struct sd_model_family {
    bool (*matches)(const char *name);
    /* The stages of a matching name. */
    sd_stages (*stages)(const char *name);
    /* Builds the network of a matching name with these stages, as many as the name has, each of at least one block, but
     * for the first of several, which may have none; the caller calls sd_network_finish(). */
    sd_status (*build)(const sd_model_spec *spec, const sd_stages *stages, sd_network *network);
    bool reads_texts; /* and no images */
} sd_model_family;

#endif
