/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the update rules. A rule is a file that defines an sd_optimizer_rule, and a row in optimizer.c. */
#ifndef SDTRAIN_OPTIM_RULE_H
#define SDTRAIN_OPTIM_RULE_H

#include "sdtrain/optim.h"

enum { SD_OPTIMIZER_MAX_STATES = 2 };

/* The update of one tensor. */
typedef struct sd_update {
    size_t n;
    float *value;
    float *state[SD_OPTIMIZER_MAX_STATES];
    const float *gradient;
    float scale; /* of the gradient (clipping); 0: dropped branch, whose gradient is not read */
    float decay;
    double lr;
    double t; /* number of the update, from 1 */
} sd_update;

typedef struct sd_optimizer_rule {
    const char *state_names[SD_OPTIMIZER_MAX_STATES]; /* PyTorch's names; NULL ends the list */
    void (*apply)(const sd_optimizer_spec *spec, const sd_update *update);
} sd_optimizer_rule;

extern const sd_optimizer_rule sd_sgd, sd_adamw;

#endif
