/* SPDX-License-Identifier: Apache-2.0 */
/* What dropping saves, computed from rates and from drawn plans. Local and pure. */
#ifndef SDTRAIN_SAVINGS_H
#define SDTRAIN_SAVINGS_H

#include "sdtrain/drop.h"
#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What dropping saves in expectation: fractions of the whole network. */
typedef struct sd_savings {
    double branches; /* of decision units, image by image */
    double flops;    /* over all ranks */
    double bytes;    /* of gradients: what nobody keeps is not sent */
} sd_savings;
/* images: of a batch. */
sd_savings sd_savings_expected(const sd_network *network, const sd_drop_spec *drop, uint64_t images);

/* The fraction of its FLOPs that the slowest rank of a step is spared, for which all others wait: what the rank with
 * most of them computes, of what the rank with most images would without dropping. Mean of the plans of steps 1 to
 * `steps`; the expected saving where all ranks do alike. */
sd_status sd_savings_of_slowest(const sd_network *network, const sd_drop_spec *drop, uint64_t images, int ranks,
                                int steps, double *saved);

#ifdef __cplusplus
}
#endif
#endif
