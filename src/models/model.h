/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the families of models. */
#ifndef SDTRAIN_MODELS_MODEL_H
#define SDTRAIN_MODELS_MODEL_H

#include "../nn/network.h"
#include "sdtrain/models.h"

typedef struct sd_model_family {
    bool (*matches)(const char *name);
    /* Builds the network of a name that matches, up to, without, sd_network_finish(). */
    sd_status (*build)(const sd_model_spec *spec, sd_network *network);
} sd_model_family;

extern const sd_model_family sd_resnet_family, sd_vit_family;

#endif
