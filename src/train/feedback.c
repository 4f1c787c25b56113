/* SPDX-License-Identifier: Apache-2.0 */
#include "feedback.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

static size_t error_bytes(const sd_trainer *trainer) {
    return sd_network_buffer_elems(trainer->network) * sizeof(float);
}

sd_status sd_feedback_collect(const sd_session *session, const sd_trainer *trainer, float *all) {
    float *mine = sd_reducer_error(trainer->reducer);
    const size_t elems = sd_network_buffer_elems(trainer->network), bytes = error_bytes(trainer);
    const bool root = sd_session_is_root(session);
    if (mine && root)
        memcpy(all, mine, bytes);
    for (int rank = 1; mine && rank < sd_comm_size(session->comm); rank++)
        SD_TRY(sd_comm_copy(session->comm, rank, 0, root ? all + elems * (size_t)rank : mine, bytes));
    return SD_OK;
}

/* stored: on rank 0, room for the error of one. */
static sd_status restore(const sd_session *session, const sd_trainer *trainer, sd_checkpoint_file *file, int ranks,
                         float *stored) {
    sd_comm *comm = session->comm;
    float *error = sd_reducer_error(trainer->reducer);
    const bool root = sd_session_is_root(session), same = ranks == sd_comm_size(comm);
    for (int rank = 0; rank < ranks; rank++) {
        const int to = same ? rank : 0;
        SD_TRY(sd_comm_agree(comm, root ? sd_checkpoint_read_error(file, trainer->network, rank, stored) : SD_OK));
        SD_TRY(sd_comm_copy(comm, 0, to, root ? stored : error, error_bytes(trainer)));
        for (size_t i = 0; root && to == 0 && i < sd_network_buffer_elems(trainer->network); i++)
            error[i] += stored[i]; /* from zeros, which changes no bit of the first: a difference is never -0 */
    }
    return SD_OK;
}

sd_status sd_feedback_restore(const sd_session *session, const sd_trainer *trainer, sd_checkpoint_file *file,
                              int ranks) {
    float *stored = NULL;
    if (!sd_reducer_error(trainer->reducer))
        return SD_OK;
    const bool root = sd_session_is_root(session);
    sd_status status = root ? sd_alloc_floats(&stored, sd_network_buffer_elems(trainer->network)) : SD_OK;
    status = sd_comm_agree(session->comm, status);
    if (status == SD_OK)
        status = restore(session, trainer, file, ranks, stored);
    free(stored);
    return status;
}
