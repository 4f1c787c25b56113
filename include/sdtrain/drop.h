/* SPDX-License-Identifier: Apache-2.0 */
/* Stochastic depth: which residual branches a training step computes (Huang et al. 2016, "Deep networks with stochastic
 * depth").
 *
 * Local and pure: a plan is a function of (seed, step, rates, images, ranks), so all ranks compute the same plan
 * without communication, in every scope. A decision unit is one residual branch, or all branches of a block that are
 * decided together. */
#ifndef SDTRAIN_DROP_H
#define SDTRAIN_DROP_H

#include <stdint.h>

#include "sdtrain/choice.h"
#include "sdtrain/range.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The drop rate p_l of block l = 1..L, counted from the input. */
#define SD_DROP_SCHEDULE_LIST(X)                                                                                       \
    X(SD_DROP_LINEAR, "linear")         /* p_l = l/L rate          Huang et al., equation 4 */                         \
    X(SD_DROP_LINSPACE, "linspace")     /* p_l = (l-1)/(L-1) rate  timm, torchvision's ConvNeXt; 0 where L = 1 */      \
    X(SD_DROP_ZERO_BASED, "zero_based") /* p_l = (l-1)/L rate      EfficientNet */                                     \
    X(SD_DROP_CONSTANT, "constant")     /* p_l = rate */                                                               \
    X(SD_DROP_LIST, "list")             /* p_l as given */
typedef enum sd_drop_schedule { SD_DROP_SCHEDULE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_schedule;
SD_CHOICE_WORD_OF(sd_drop_schedule, SD_DROP_SCHEDULE_LIST)

/* Where a branch F is scaled. The first two make its expectation the same in training and evaluation. */
#define SD_DROP_SCALE_LIST(X)                                                                                          \
    X(SD_DROP_SCALE_INFERENCE, "inference") /* evaluation: (1 - p_l) F (Huang et al.) */                               \
    X(SD_DROP_SCALE_TRAINING, "training")   /* training: F / (1 - p_l) where kept (timm) */                            \
    X(SD_DROP_SCALE_NONE, "none")           /* nowhere (LayerDrop: Fan et al. 2020, fairseq's LayerDropModuleList) */
typedef enum sd_drop_scale { SD_DROP_SCALE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_scale;
SD_CHOICE_WORD_OF(sd_drop_scale, SD_DROP_SCALE_LIST)

/* The drop rate of block l of L under a schedule other than SD_DROP_LIST. */
double sd_drop_rate(sd_drop_schedule schedule, double rate, int l, int L);

/* The images that share a decision. */
#define SD_DROP_SCOPE_LIST(X)                                                                                          \
    X(SD_DROP_SCOPE_GLOBAL, "global") /* the whole batch, on all ranks */                                              \
    X(SD_DROP_SCOPE_RANK, "rank")     /* the images of a rank ("batch" mode of timm, torchvision, Composer) */         \
    X(SD_DROP_SCOPE_SAMPLE, "sample") /* none: each image has its own decision */
typedef enum sd_drop_scope { SD_DROP_SCOPE_LIST(SD_CHOICE_ENUMERATOR) } sd_drop_scope;
SD_CHOICE_WORD_OF(sd_drop_scope, SD_DROP_SCOPE_LIST)

/* The distribution of the decisions. Arrays are the caller's memory. */
typedef struct sd_drop_spec {
    uint32_t seed;
    sd_drop_scope scope;
    sd_drop_scale scale;
    int ranks; /* used with SD_DROP_SCOPE_RANK only */
    int units;
    double *rate;      /* [units], in [0, 1]: the probability that a training step drops the unit */
    int min_kept;      /* plans that keep fewer units are drawn again; only with SD_DROP_SCOPE_GLOBAL; 0: none is */
    double *threshold; /* [units], what draws are compared with; NULL: rate. With min_kept, rate is its condition's */
} sd_drop_spec;

/* The drop rates of plans that keep at least min_kept (up to SD_DROP_MOST_KEPT) units, where a draw drops unit i with
 * probability threshold[i], independently: rate[i] = P(i is dropped | at least min_kept are kept), to rounding; equal
 * to threshold[i] where min_kept = 0. threshold, rate: [units], different memory. Returns the probability that a draw
 * keeps so many; below SD_DROP_RAREST drawing until one does would take too long, and rate is not written. */
#define SD_DROP_MOST_KEPT 1024
#define SD_DROP_RAREST 1e-3
double sd_drop_condition(int units, int min_kept, const double *threshold, double *rate);

/* The probability that a unit is dropped for every image of a batch, so that its gradient is not sent. */
double sd_drop_probability_for_all(const sd_drop_spec *drop, int unit, uint64_t images);

/* The decisions of one step on the whole batch; equal on all ranks. */
typedef struct sd_drop_plan {
    int units, kept_units;
    unsigned char *kept; /* [units], 1: at least one image of the batch keeps the branch */
    float *scale;        /* [units], factor of a kept branch */
    uint64_t *images;    /* [units], number of images of the batch that keep the branch */
} sd_drop_plan;

/* The decisions for the images of one pass, contiguous in the batch. With SD_DROP_SCOPE_GLOBAL there is no part (NULL):
 * the plan's decisions hold for all images. */
typedef struct sd_drop_part {
    int units, max_images;
    int *images;      /* [units], number of these images that keep the branch */
    uint32_t *places; /* [units][max_images], indices of these images, from 0, ascending */
} sd_drop_part;

/* Allocates the zeroed arrays of a plan, which every draw overwrites. SD_ERR_MEMORY; free it in any case (a zeroed plan
 * is valid). */
sd_status sd_drop_plan_create(int units, sd_drop_plan *plan);
void sd_drop_plan_free(sd_drop_plan *plan);

/* Draws the plan of a training step (from 1) on a batch of `images`: unit i is dropped if u < threshold[i], u = word *
 * 2^-32 of Philox. Global: first word, key (seed, SD_STREAM_DROP), counter (attempt << 32 | i, step), where attempt
 * counts the plans of this step that kept fewer than min_kept units; else see SD_STREAM_DROP_RANK and
 * SD_STREAM_DROP_SAMPLE. */
void sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan);

/* The hash of seed, step, scope, rates and decisions, all of which must be equal on all ranks. */
uint64_t sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan);

/* Allocates the zeroed arrays of a part. SD_ERR_MEMORY; free it in any case. */
sd_status sd_drop_part_create(int units, int max_images, sd_drop_part *part);
void sd_drop_part_free(sd_drop_part *part);

/* Draws the part of a step's plan for the images `share` of the batch (at most max_images) on a rank. Not with
 * SD_DROP_SCOPE_GLOBAL. */
void sd_drop_part_draw(const sd_drop_spec *drop, uint64_t step, int rank, sd_range share, sd_drop_part *part);

/* The plan of an evaluation: every unit is kept, or those that keep (0 or 1, [units]) has; it may be NULL. A kept
 * branch is scaled as drop says, whatever others there are. */
void sd_drop_plan_evaluation(const sd_drop_spec *drop, const unsigned char *keep, sd_drop_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
