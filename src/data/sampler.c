/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/data.h"

sd_epoch_plan sd_epoch_plan_make(uint64_t images, uint64_t batch_size, sd_last_batch last, int ranks,
                                 uint64_t min_rank_images) {
    sd_epoch_plan plan = {.images = images, .batch_size = batch_size, .full_batches = images / batch_size};
    uint64_t rest = images % batch_size;
    if (last == SD_LAST_BATCH_KEEP && rest > 0 && rest / (uint64_t)ranks >= min_rank_images)
        plan.last_images = rest;
    plan.steps = plan.full_batches + (plan.last_images > 0);
    return plan;
}

uint64_t sd_epoch_plan_batch_images(const sd_epoch_plan *plan, uint64_t b) {
    return b < plan->full_batches ? plan->batch_size : plan->last_images;
}
