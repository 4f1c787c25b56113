/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/checkpoint.h"

sd_status sd_snapshot_create(const sd_network *network, const sd_optimizer *optimizer, int n_errors,
                             sd_snapshot *snapshot) {
    const size_t elems = sd_network_buffer_elems(network), segments = (size_t)sd_network_n_segments(network);
    const int states = sd_optimizer_n_states(optimizer);
    *snapshot = (sd_snapshot){.elems = elems, .states = states};
    SD_TRY(sd_alloc(&snapshot->kept_steps, segments, sizeof *snapshot->kept_steps));
    SD_TRY(sd_alloc_floats(&snapshot->values, elems * (size_t)(1 + states + n_errors)));
    for (int i = 0; i < states; i++)
        snapshot->state[i] = snapshot->values + elems * (size_t)(1 + i);
    if (n_errors > 0)
        snapshot->error = snapshot->values + elems * (size_t)(1 + states);
    return SD_OK;
}

void sd_snapshot_free(sd_snapshot *snapshot) {
    free(snapshot->kept_steps);
    free(snapshot->values);
    *snapshot = (sd_snapshot){0};
}

void sd_snapshot_take(sd_snapshot *snapshot, sd_network *network, sd_optimizer *optimizer) {
    memcpy(snapshot->values, sd_network_values(network), snapshot->elems * sizeof(float));
    for (int i = 0; i < snapshot->states; i++)
        memcpy(snapshot->state[i], sd_optimizer_state(optimizer, i), snapshot->elems * sizeof(float));
    for (int i = 0; i < sd_network_n_segments(network); i++)
        snapshot->kept_steps[i] = sd_network_segment(network, i)->kept_steps;
}
