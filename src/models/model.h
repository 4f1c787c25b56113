/* Private: the families of models. */
#ifndef SDTRAIN_MODELS_MODEL_H
#define SDTRAIN_MODELS_MODEL_H

#include "../nn/network.h"
#include "sdtrain/models.h"

/* found: whether the name is one of the family's; then network is built up to, without, sd_network_finish(), unless NULL. */
sd_status sd_resnet_build(const sd_model_spec *spec, sd_network *network, bool *found);
sd_status sd_vit_build(const sd_model_spec *spec, sd_network *network, bool *found);

#endif
