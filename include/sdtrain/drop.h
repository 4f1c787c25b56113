/* SPDX-License-Identifier: Apache-2.0 */
/* Stochastic depth: which residual branches a training step computes (Huang et al. 2016, "Deep networks with stochastic
 * depth").
 *
 * Local and pure: a plan is a function of (seed, step, rates, images, ranks), so all ranks hold the same plan without
 * communicating, whoever the decisions are about.
 * A decision unit is one residual branch, or all branches of a block that are decided together.
 */
#ifndef SDTRAIN_DROP_H
#define SDTRAIN_DROP_H

#include <stdint.h>

#include "sdtrain/choice.h"
#include "sdtrain/range.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the drop rate grows over depth; l = 1..L is the block's place from the input. */
#define SD_DROP_SCHEDULE_LIST(X)                                                                                       \
    X(SD_DROP_LINEAR, "linear")         /* p_l = l/L rate          Huang et al., equation 4 */                         \
    X(SD_DROP_LINSPACE, "linspace")     /* p_l = (l-1)/(L-1) rate  timm, torchvision's ConvNeXt; 0 where L = 1 */      \
    X(SD_DROP_ZERO_BASED, "zero_based") /* p_l = (l-1)/L rate      EfficientNet */                                     \
    X(SD_DROP_CONSTANT, "constant")     /* p_l = rate */                                                               \
    X(SD_DROP_LIST, "list")             /* p_l as given */
typedef enum sd_drop_schedule { SD_DROP_SCHEDULE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_schedule;
SD_CHOICE_WORD_OF(sd_drop_schedule, SD_DROP_SCHEDULE_LIST)

/* Where the expectation of a branch is kept. */
#define SD_DROP_SCALE_LIST(X)                                                                                          \
    X(SD_DROP_SCALE_INFERENCE, "inference") /* all branches times 1 - p_l at evaluation (Huang et al.) */              \
    X(SD_DROP_SCALE_TRAINING, "training")   /* kept branches times 1/(1 - p_l) in training (timm) */
typedef enum sd_drop_scale { SD_DROP_SCALE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_scale;
SD_CHOICE_WORD_OF(sd_drop_scale, SD_DROP_SCALE_LIST)

/* The drop rate of block l of L under a schedule other than SD_DROP_LIST. */
double sd_drop_rate(sd_drop_schedule schedule, double rate, int l, int L);

/* Who shares a decision. */
#define SD_DROP_SCOPE_LIST(X)                                                                                          \
    X(SD_DROP_SCOPE_GLOBAL, "global") /* the whole batch, on all ranks */                                              \
    X(SD_DROP_SCOPE_RANK, "rank")     /* the images of a rank (timm's, torchvision's, Composer's: a mask a batch) */   \
    X(SD_DROP_SCOPE_SAMPLE, "sample") /* nobody: every image has its own */
typedef enum sd_drop_scope { SD_DROP_SCOPE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_scope;
SD_CHOICE_WORD_OF(sd_drop_scope, SD_DROP_SCOPE_LIST)

/* What decisions are drawn from. rate: [units], in [0, 1], the caller's; ranks: read with SD_DROP_SCOPE_RANK only. */
typedef struct sd_drop_spec {
    uint32_t seed;
    sd_drop_scope scope;
    sd_drop_scale scale;
    int ranks;
    int units;
    double *rate;
} sd_drop_spec;

/* The probability that a unit is dropped for all of a batch of images, so that its gradient is not sent. */
double sd_drop_probability_for_all(const sd_drop_spec *drop, int unit, uint64_t images);

/* The decisions of one step about the whole batch: equal on all ranks. */
typedef struct sd_drop_plan {
    int units, kept_units;
    unsigned char *kept; /* [units], 1: the branch is computed for some image of the batch */
    float *scale;        /* [units], what a kept branch is multiplied by */
    uint64_t *images;    /* [units], for how many images of the batch it is computed */
} sd_drop_plan;

/* The decisions about some images in a row that one rank computes together. With SD_DROP_SCOPE_GLOBAL there is none:
 * they are the plan's. */
typedef struct sd_drop_part {
    int units, max_images;
    int *images;      /* [units], for how many of these images the branch is computed */
    uint32_t *places; /* [units][max_images], which ones (0: the first of these), in rising order */
} sd_drop_part;

/* Allocates the arrays of a plan, zeroed; one plan is drawn into again and again. SD_ERR_MEMORY; free it in any case
 * (zeros are valid). */
sd_status sd_drop_plan_create(int units, sd_drop_plan *plan);
void sd_drop_plan_free(sd_drop_plan *plan);

/* The plan of a training step (from 1) on a batch of images: unit i is dropped if u < rate[i], u = word * 2^-32 of
 * Philox; global: first word, key (seed, SD_STREAM_DROP), counter (i, step); the others as SD_STREAM_DROP_RANK and
 * SD_STREAM_DROP_SAMPLE say. */
void sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan);

/* The hash of what all ranks must hold alike in a step: seed, step, scope, rates, and the decisions drawn from them. */
uint64_t sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan);

/* Allocates the arrays of a part, zeroed. SD_ERR_MEMORY; free it in any case. */
sd_status sd_drop_part_create(int units, int max_images, sd_drop_part *part);
void sd_drop_part_free(sd_drop_part *part);

/* The part of that plan for the images at `share` of the batch, at most max_images, on a rank. Not with
 * SD_DROP_SCOPE_GLOBAL. */
void sd_drop_part_draw(const sd_drop_spec *drop, uint64_t step, int rank, sd_range share, sd_drop_part *part);

/* The plan of an evaluation: every branch is kept. */
void sd_drop_plan_evaluation(const sd_drop_spec *drop, sd_drop_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
