/* SPDX-License-Identifier: Apache-2.0 */
#include "horizon.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "sdtrain/hash.h"

void sd_horizon_plan(sd_horizon *horizon, sd_progress *p, const sd_config *config, uint64_t steps_per_epoch) {
    if (p->batch > steps_per_epoch) /* on more ranks a short last batch may be none: the epoch is at its end */
        p->batch = steps_per_epoch;
    const uint64_t epochs = (uint64_t)config->train.epochs, max_steps = (uint64_t)config->train.max_steps;
    const uint64_t left = p->epoch < epochs ? (epochs - p->epoch) * steps_per_epoch - p->batch : 0;
    horizon->planned_steps = p->step + left;
    horizon->total_steps = max_steps > 0 && max_steps < horizon->planned_steps ? max_steps : horizon->planned_steps;
}

bool sd_horizon_is_reached(const sd_horizon *horizon, const sd_progress *p, const sd_config *config,
                           uint64_t steps_per_epoch) {
    const bool epoch_is_to_end = p->batch == steps_per_epoch;
    return p->epoch >= (uint64_t)config->train.epochs || (p->step >= horizon->total_steps && !epoch_is_to_end);
}

double sd_lr_of_batch(const sd_config *config, const sd_progress *progress, uint64_t batch, uint64_t steps_per_epoch) {
    return sd_lr_at(&config->lr, (uint64_t)config->train.epochs, progress->epoch * steps_per_epoch + batch,
                    steps_per_epoch);
}

uint64_t sd_run_id_draw(void) {
    uint64_t id = 0;
    if (getrandom(&id, sizeof id, GRND_NONBLOCK) != (ssize_t)sizeof id) { /* not there, or not ready */
        struct timespec now = {0};
        clock_gettime(CLOCK_REALTIME, &now);
        const uint64_t parts[] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, (uint64_t)getpid()};
        id = sd_hash(parts, sizeof parts);
    }
    return id != 0 ? id : 1;
}
