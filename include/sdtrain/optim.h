/* SPDX-License-Identifier: Apache-2.0 */
/* Optimizers and learning-rate schedules, by PyTorch's conventions. Local: every rank does the same update on the same
 * summed gradients. */
#ifndef SDTRAIN_OPTIM_H
#define SDTRAIN_OPTIM_H

#include "sdtrain/choice.h"
#include "sdtrain/list.h"
#include "sdtrain/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* SGD:    d = g + decay w;  m = momentum m + d;  w -= lr (nesterov ? d + momentum m : m)      (torch.optim.SGD,
 * dampening 0)
 * AdamW:  w -= lr decay w;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
 *         w -= lr / (1-b1^t) m / (sqrt(v / (1-b2^t)) + epsilon)   (Loshchilov & Hutter 2019)
 * t: the step, or with dropped_update = freeze the steps in which the branch was kept.
 * As in PyTorch, m and v of parameters without a gradient shrink to denormal numbers and stay there (0.9 m rounds to
 * m), which makes updates slower on many processors. */
#define SD_OPTIMIZER_LIST(X)                                                                                           \
    X(SD_OPTIMIZER_SGD, "sgd")                                                                                         \
    X(SD_OPTIMIZER_ADAMW, "adamw")
typedef enum sd_optimizer_kind { SD_OPTIMIZER_LIST(SD_CHOICE_ENUMERATOR) } sd_optimizer_kind;
SD_CHOICE_WORD_OF(sd_optimizer_kind, SD_OPTIMIZER_LIST)

/* What decays. */
#define SD_DECAY_LIST(X)                                                                                               \
    X(SD_DECAY_ALL, "all")                                                                                             \
    X(SD_DECAY_MATRICES, "matrices") /* no norms, biases, position or class embeddings (sd_tensor.matrix) */
typedef enum sd_decay { SD_DECAY_LIST(SD_CHOICE_ENUMERATOR) } sd_decay;
SD_CHOICE_WORD_OF(sd_decay, SD_DECAY_LIST)

/* What a step does to the parameters of a dropped branch. */
#define SD_DROPPED_LIST(X)                                                                                             \
    X(SD_DROPPED_DECAY_AND_MOMENTUM, "decay_and_momentum") /* a zero gradient (the authors' code) */                   \
    X(SD_DROPPED_FREEZE, "freeze")                         /* no update (PyTorch where there is no gradient) */
typedef enum sd_dropped_update { SD_DROPPED_LIST(SD_CHOICE_ENUMERATOR) } sd_dropped_update;
SD_CHOICE_WORD_OF(sd_dropped_update, SD_DROPPED_LIST)

/* What the gradient of a branch that some ranks keep is divided by. */
#define SD_RANK_DIVISOR_LIST(X)                                                                                        \
    X(SD_RANK_DIVISOR_ALL, "all")   /* the images of all ranks */                                                      \
    X(SD_RANK_DIVISOR_KEPT, "kept") /* those of the ranks that kept it: sd_gradients_divide_by_kept() */
typedef enum sd_rank_divisor { SD_RANK_DIVISOR_LIST(SD_CHOICE_ENUMERATOR) } sd_rank_divisor;
SD_CHOICE_WORD_OF(sd_rank_divisor, SD_RANK_DIVISOR_LIST)

typedef struct sd_optimizer_spec {
    sd_optimizer_kind kind;
    double momentum; /* SGD */
    bool nesterov;
    double beta1, beta2, epsilon; /* AdamW */
    double weight_decay;
    sd_decay decay;
    double clip_norm; /* largest L2 norm of the whole gradient (torch.nn.utils.clip_grad_norm_); 0: any */
    sd_dropped_update dropped_update;
} sd_optimizer_spec;

typedef struct sd_optimizer sd_optimizer;

/* The network must outlive it. SD_ERR_MEMORY; destroy it in any case. */
sd_status sd_optimizer_create(const sd_optimizer_spec *spec, sd_network *network, sd_optimizer **optimizer);
void sd_optimizer_destroy(sd_optimizer **optimizer);

/* One update of all parameters from their gradients. step from 1. Dropped segments get a zero gradient or no update, as
 * configured; their gradients are not read. Call after sd_network_update_statistics(). */
void sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step);

/* With SD_RANK_DIVISOR_KEPT: makes the summed gradients of a branch, which are divided by the images of the batch,
 * those of the images that kept it. Gradients only: statistics are weighted so already. */
void sd_gradients_divide_by_kept(sd_network *network, const sd_drop_plan *plan, uint64_t images);

/* Whether no gradient or batch statistic of a kept segment is infinite or not a number. */
bool sd_gradients_are_finite(sd_network *network, const sd_drop_plan *plan);
/* Where the trouble began, for people: the first such batch statistic in the order of the forward pass, or else the
 * first such gradient in the order of the backward pass; NULL if all are finite. */
const sd_tensor *sd_gradient_not_finite(sd_network *network, const sd_drop_plan *plan);

/* The L2 norm of the gradients of all kept segments, before any clipping; summed in double, in a fixed order. */
double sd_gradient_norm(sd_network *network, const sd_drop_plan *plan);

/* What a checkpoint must hold: buffers laid out like the network's values, the optimizer's own. Names (static text):
 * "momentum"; "exp_avg", "exp_avg_sq". */
int sd_optimizer_n_states(const sd_optimizer *optimizer);
const char *sd_optimizer_state_name(const sd_optimizer *optimizer, int i);
float *sd_optimizer_state(sd_optimizer *optimizer, int i);

/* The learning rate of step t = 0 .. T-1, T = epochs * steps_per_epoch; all times (t + 1) / W during the first
 * W = warmup_epochs * steps_per_epoch steps. */
#define SD_LR_LIST(X)                                                                                                  \
    X(SD_LR_STEP, "step") /* base * gamma^(milestones reached)  (MultiStepLR; a milestone counts completed epochs) */  \
    X(SD_LR_COSINE, "cosine")     /* minimum + (base - minimum) (1 + cos(pi t / T)) / 2 */                             \
    X(SD_LR_CONSTANT, "constant") /* base */                                                                           \
    X(SD_LR_ONECYCLE, "onecycle") /* base/25 -> base in 0.3 T -> base/250000, half cosines (OneCycleLR) */
typedef enum sd_lr_schedule { SD_LR_LIST(SD_CHOICE_ENUMERATOR) } sd_lr_schedule;
SD_CHOICE_WORD_OF(sd_lr_schedule, SD_LR_LIST)

typedef struct sd_lr_spec {
    sd_lr_schedule schedule;
    double base, warmup_epochs, gamma, minimum;
    sd_list milestones; /* rising */
} sd_lr_spec;

/* Pure, but for the last bit of cos() and pow(), which may differ between processors: ranks take one rank's. */
double sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch);

#ifdef __cplusplus
}
#endif
#endif
