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

/* SGD:    d = g + decay w;  m = momentum m + d;  w -= lr (nesterov ? d + momentum m : m)
 *         (torch.optim.SGD, dampening 0)
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

/* The parameters that weight decay applies to. */
#define SD_DECAY_LIST(X)                                                                                               \
    X(SD_DECAY_ALL, "all")                                                                                             \
    X(SD_DECAY_MATRICES, "matrices") /* not norms, biases, position and class embeddings (sd_tensor.matrix) */
typedef enum sd_decay { SD_DECAY_LIST(SD_CHOICE_ENUMERATOR) } sd_decay;
SD_CHOICE_WORD_OF(sd_decay, SD_DECAY_LIST)

/* The update of a dropped branch's parameters. */
#define SD_DROPPED_LIST(X)                                                                                             \
    X(SD_DROPPED_DECAY_AND_MOMENTUM, "decay_and_momentum") /* a zero gradient (the authors' code) */                   \
    X(SD_DROPPED_FREEZE, "freeze")                         /* none (PyTorch, grad = None) */
typedef enum sd_dropped_update { SD_DROPPED_LIST(SD_CHOICE_ENUMERATOR) } sd_dropped_update;
SD_CHOICE_WORD_OF(sd_dropped_update, SD_DROPPED_LIST)

/* The divisor of the gradient of a branch that only some ranks keep. */
#define SD_RANK_DIVISOR_LIST(X)                                                                                        \
    X(SD_RANK_DIVISOR_ALL, "all")   /* the images of all ranks */                                                      \
    X(SD_RANK_DIVISOR_KEPT, "kept") /* the images of ranks that keep it: sd_gradients_divide_by_kept() */
typedef enum sd_rank_divisor { SD_RANK_DIVISOR_LIST(SD_CHOICE_ENUMERATOR) } sd_rank_divisor;
SD_CHOICE_WORD_OF(sd_rank_divisor, SD_RANK_DIVISOR_LIST)

typedef struct sd_optimizer_spec {
    sd_optimizer_kind kind;
    double momentum; /* SGD */
    bool nesterov;
    double beta1, beta2, epsilon; /* AdamW */
    double weight_decay;
    sd_decay decay;
    /* d: the learning rate of layer i (sd_tensor.layer) is lr d^(last - i), and with it what weight decay takes (timm's
     * param_groups_layer_decay). 1, or 0: the same for all. */
    double layer_decay;
    double clip_norm; /* maximum L2 norm of the whole gradient (torch.nn.utils.clip_grad_norm_); 0: no clipping */
    sd_dropped_update dropped_update;
} sd_optimizer_spec;

typedef struct sd_optimizer sd_optimizer;

/* The network must outlive it. SD_ERR_MEMORY; destroy it in any case. */
sd_status sd_optimizer_create(const sd_optimizer_spec *spec, sd_network *network, sd_optimizer **optimizer);
void sd_optimizer_destroy(sd_optimizer **optimizer);

/* Updates all parameters from their gradients, but for frozen ones (sd_network_freeze()), which keep their values and
 * states. step from 1. Gradients of dropped segments are not read (sd_dropped_update). Call after
 * sd_network_update_statistics(). */
void sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step);

/* With SD_RANK_DIVISOR_KEPT: multiplies the summed gradients of each branch by (images of the batch) / (images that
 * keep it). Statistics are not changed: batch_share already weights them so. */
void sd_gradients_divide_by_kept(sd_network *network, const sd_drop_plan *plan, uint64_t images);

/* Whether all gradients and batch statistics of segments that a step trains are finite. */
bool sd_gradients_are_finite(sd_network *network, const sd_drop_plan *plan);
/* The first tensor that is not finite, for messages: a batch statistic in forward order, else a gradient in backward
 * order; NULL if all are finite. */
const sd_tensor *sd_gradient_not_finite(sd_network *network, const sd_drop_plan *plan);

/* The L2 norm of the gradients of all kept segments, but for frozen tensors, before clipping; summed in double, in a
 * fixed order. */
double sd_gradient_norm(sd_network *network, const sd_drop_plan *plan);

/* The optimizer's states, which it owns: buffers laid out like the network's values. Names (static text): "momentum";
 * "exp_avg", "exp_avg_sq". */
int sd_optimizer_n_states(const sd_optimizer *optimizer);
const char *sd_optimizer_state_name(const sd_optimizer *optimizer, int i);
float *sd_optimizer_state(sd_optimizer *optimizer, int i);

/* The learning rate of step t = 0 .. T-1, T = epochs * steps_per_epoch; all times (t + 1) / W during the first
 * W = warmup_epochs * steps_per_epoch steps. */
#define SD_LR_LIST(X)                                                                                                  \
    X(SD_LR_STEP, "step") /* base * gamma^(milestones reached)  (MultiStepLR; a milestone counts completed epochs) */  \
    X(SD_LR_COSINE, "cosine")     /* minimum + (base - minimum) (1 + cos(pi t / T)) / 2 */                             \
    X(SD_LR_LINEAR, "linear")     /* base in a line, from the end of warm-up on, to minimum at t = T */                \
    X(SD_LR_CONSTANT, "constant") /* base */                                                                           \
    X(SD_LR_ONECYCLE, "onecycle") /* base/25 -> base in 0.3 T -> base/250000, half cosines (OneCycleLR) */
typedef enum sd_lr_schedule { SD_LR_LIST(SD_CHOICE_ENUMERATOR) } sd_lr_schedule;
SD_CHOICE_WORD_OF(sd_lr_schedule, SD_LR_LIST)

typedef struct sd_lr_spec {
    sd_lr_schedule schedule;
    double base, warmup_epochs, gamma, minimum;
    sd_list milestones; /* rising */
} sd_lr_spec;

/* Pure; but the last bit of cos() and pow() may differ between processors, so all ranks use one rank's result. */
double sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch);

#ifdef __cplusplus
}
#endif
#endif
