/* SPDX-License-Identifier: Apache-2.0 */
/* The savings by dropping, computed from rates and from drawn plans. Local and pure. */
#ifndef SDTRAIN_SAVINGS_H
#define SDTRAIN_SAVINGS_H

#include "sdtrain/drop.h"
#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Expected savings, as fractions of the whole network. */
typedef struct sd_savings {
    double branches; /* of branch computations, one per unit and image */
    double flops;    /* over all ranks */
    double bytes;    /* of gradients: a unit that no image keeps is not sent, nor is what is frozen */
    double frozen;   /* of gradients: what is frozen alone */
} sd_savings;
/* images: of the global batch. */
sd_savings sd_savings_expected(const sd_network *network, const sd_drop_spec *drop, uint64_t images);

/* The fraction of FLOPs saved on the slowest rank, for which all others wait: 1 - (most FLOPs of a rank) / (most FLOPs
 * of a rank without dropping), averaged over the plans of steps 1..`steps`; the expected saving where all ranks compute
 * the same branches. */
sd_status sd_savings_of_slowest(const sd_network *network, const sd_drop_spec *drop, uint64_t images, int ranks,
                                int steps, double *saved);

#ifdef __cplusplus
}
#endif
#endif
