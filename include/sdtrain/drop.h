/* Stochastic depth: which residual branches a training step computes (Huang et al. 2016, "Deep networks with stochastic
 * depth").
 *
 * Local and pure: a plan is a function of (seed, step, rates), so all ranks hold the same plan without communicating.
 * A decision unit is one residual branch, or all branches of a block that are decided together.
 */
#ifndef SDTRAIN_DROP_H
#define SDTRAIN_DROP_H

#include <stdint.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the drop rate grows over depth; l = 1..L is the block's place from the input. */
typedef enum sd_drop_schedule {
    SD_DROP_LINEAR,     /* p_l = l/L rate          Huang et al., equation 4 (as survival: 1 - l/L (1 - p_L)) */
    SD_DROP_LINSPACE,   /* p_l = (l-1)/(L-1) rate  timm, torchvision's ConvNeXt; 0 where L = 1 */
    SD_DROP_ZERO_BASED, /* p_l = (l-1)/L rate      EfficientNet */
    SD_DROP_CONSTANT,   /* p_l = rate */
    SD_DROP_LIST,       /* p_l as given */
} sd_drop_schedule;

/* Where the expectation of a branch is kept. */
typedef enum sd_drop_scale {
    SD_DROP_SCALE_INFERENCE, /* kept branches as they are in training, times 1 - p_l at evaluation (Huang et al.) */
    SD_DROP_SCALE_TRAINING,  /* kept branches times 1/(1 - p_l) in training, as they are at evaluation (timm) */
} sd_drop_scale;

/* The drop rate of block l of L under a schedule other than SD_DROP_LIST. */
double sd_drop_rate(sd_drop_schedule schedule, double rate, int l, int L);

/* What decisions are drawn from. rate: [units], in [0, 1]. */
typedef struct sd_drop_law {
    uint32_t seed;
    sd_drop_scale scale;
    int units;
    double *rate;
} sd_drop_law;

/* The decisions of one step. */
typedef struct sd_drop_plan {
    int units, kept_units;
    unsigned char *kept; /* [units], 1: the branch is computed */
    float *scale;        /* [units], what a kept branch is multiplied by */
} sd_drop_plan;

sd_status sd_drop_plan_create(int units, sd_drop_plan *plan);
void sd_drop_plan_free(sd_drop_plan *plan);

/* The plan of a training step (from 1): unit i is dropped if u < rate[i], u = first word * 2^-32 of Philox with
 * key (seed, SD_STREAM_DROP) and counter (i, step). */
void sd_drop_plan_draw(const sd_drop_law *law, uint64_t step, sd_drop_plan *plan);

/* The plan of an evaluation: every branch is kept. */
void sd_drop_plan_evaluation(const sd_drop_law *law, sd_drop_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
