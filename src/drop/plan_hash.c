/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/drop.h"
#include "sdtrain/hash.h"

uint64_t sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan) {
    const size_t units = (size_t)plan->units;
    const uint64_t parts[] = {drop->seed,
                              step,
                              (uint64_t)drop->scope,
                              sd_hash(drop->rate, units * sizeof *drop->rate),
                              sd_hash(plan->kept, units * sizeof *plan->kept),
                              sd_hash(plan->images, units * sizeof *plan->images)};
    return sd_hash(parts, sizeof parts);
}
