/* SPDX-License-Identifier: Apache-2.0 */
/* The error feedback of ranks whose gradients travel as bf16 (dist/wire.h), into checkpoints and out of them. */
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "sdtrain/arena.h"

static size_t error_bytes(const sd_run *run) { return sd_network_buffer_elems(run->network) * sizeof(float); }

sd_status sd_errors_collect(sd_run *run, float *all) {
    float *mine = sd_reducer_error(run->reducer);
    const bool root = sd_comm_rank(run->comm) == 0;
    if (mine && root)
        memcpy(all, mine, error_bytes(run));
    for (int rank = 1; mine && rank < sd_comm_size(run->comm); rank++)
        SD_TRY(sd_comm_copy(run->comm, rank, 0,
                            root ? all + sd_network_buffer_elems(run->network) * (size_t)rank : mine,
                            error_bytes(run)));
    return SD_OK;
}

static sd_status restore(sd_run *run, sd_checkpoint_file *file, int ranks, float *stored) {
    float *error = sd_reducer_error(run->reducer);
    const bool root = sd_comm_rank(run->comm) == 0, same = ranks == sd_comm_size(run->comm);
    for (int rank = 0; rank < ranks; rank++) {
        const int to = same ? rank : 0;
        SD_TRY(sd_comm_agree(run->comm, root ? sd_checkpoint_read_error(file, run->network, rank, stored) : SD_OK));
        SD_TRY(sd_comm_copy(run->comm, 0, to, root ? stored : error, error_bytes(run)));
        for (size_t i = 0; root && to == 0 && i < sd_network_buffer_elems(run->network); i++)
            error[i] += stored[i]; /* from zeros, which changes no bit of the first: a difference is never -0 */
    }
    return SD_OK;
}

sd_status sd_errors_restore(sd_run *run, sd_checkpoint_file *file, int ranks) {
    float *stored = NULL;
    if (!sd_reducer_error(run->reducer))
        return SD_OK;
    const bool root = sd_comm_rank(run->comm) == 0;
    sd_status status = root ? sd_alloc_floats(&stored, sd_network_buffer_elems(run->network)) : SD_OK;
    status = sd_comm_agree(run->comm, status);
    if (status == SD_OK)
        status = restore(run, file, ranks, stored);
    free(stored);
    return status;
}
