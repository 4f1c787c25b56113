/* SPDX-License-Identifier: Apache-2.0 */
/* Optimizers and learning-rate schedules, by PyTorch's conventions. Local: every rank does the same update on the same
 * summed gradients. */
#ifndef SDTRAIN_OPTIM_H
#define SDTRAIN_OPTIM_H

#include "sdtrain/config.h"
#include "sdtrain/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_optimizer sd_optimizer;

/* Keeps config and network, which must outlive it; a config that changes meanwhile changes the updates. SD_ERR_MEMORY; destroy it in
 * any case.
 *
 * SGD:    d = g + decay w;  m = momentum m + d;  w -= lr (nesterov ? d + momentum m : m)      (torch.optim.SGD, dampening 0)
 * AdamW:  w -= lr decay w;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
 *         w -= lr / (1-b1^t) m / (sqrt(v / (1-b2^t)) + epsilon)                                (Loshchilov & Hutter 2019)
 * t: the step, or with dropped_update = freeze the steps in which the branch was kept.
 * As in PyTorch, m and v of parameters without a gradient shrink to denormal numbers and stay there (0.9 m rounds to
 * m), which makes updates slower on many processors. */
sd_status sd_optimizer_create(const sd_config *config, sd_network *network, sd_optimizer **optimizer);
void sd_optimizer_destroy(sd_optimizer **optimizer);

/* One update of all parameters from their gradients. step from 1. Dropped segments get a zero gradient or no update, as
 * configured; their gradients are not read. Call after sd_network_update_statistics(). */
void sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step);

/* stochastic_depth.rank_divisor = kept: makes the summed gradients of a branch, which are divided by the images of the batch, those
 * of the images that kept it. Gradients only: statistics are weighted so already. */
void sd_gradients_divide_by_kept(sd_network *network, const sd_drop_plan *plan, uint64_t images);

/* Whether no gradient or batch statistic of a kept segment is infinite or not a number. */
bool sd_gradients_are_finite(sd_network *network, const sd_drop_plan *plan);
/* Where the trouble began, for people: the first such batch statistic in the order of the forward pass, or else the first such
 * gradient in the order of the backward pass; NULL if all are finite. */
const sd_tensor *sd_gradient_not_finite(sd_network *network, const sd_drop_plan *plan);

/* The L2 norm of the gradients of all kept segments, before any clipping; summed in double, in a fixed order. */
double sd_gradient_norm(sd_network *network, const sd_drop_plan *plan);

/* What a checkpoint must hold: buffers laid out like the network's values, the optimizer's own. Names (static text): "momentum";
 * "exp_avg", "exp_avg_sq". */
int sd_optimizer_n_states(const sd_optimizer *optimizer);
const char *sd_optimizer_state_name(const sd_optimizer *optimizer, int i);
float *sd_optimizer_state(sd_optimizer *optimizer, int i);

/* Pure, but for the last bit of cos() and pow(), which may differ between processors: ranks take one rank's.
 * The learning rate of step t = 0 .. T-1, T = epochs * steps_per_epoch:
 *     step       base * gamma^(milestones reached)           (MultiStepLR; a milestone counts completed epochs)
 *     cosine     minimum + (base - minimum) (1 + cos(pi t / T)) / 2
 *     constant   base
 *     onecycle   base/25 -> base over the first 0.3 T, then -> base/250000, by half cosines   (OneCycleLR's defaults)
 * all times (t + 1) / W during the first W = warmup_epochs * steps_per_epoch steps. */
double sd_lr_at(const sd_config *config, uint64_t t, uint64_t steps_per_epoch);

#ifdef __cplusplus
}
#endif
#endif
