/* What ranks owe because gradients travel as bf16 (dist/wire.h), into checkpoints and out of them. */
#include <stdlib.h>

#include "run.h"
#include "sdtrain/arena.h"

static size_t error_bytes(const sd_run *run) { return sd_network_buffer_elems(run->network) * sizeof(float); }

sd_status sd_errors_begin(sd_run *run, sd_errors *errors) {
    *errors = (sd_errors){.run = run, .next = 1};
    if (!sd_reducer_error(run->reducer) || sd_comm_rank(run->comm) != 0 || sd_comm_size(run->comm) == 1)
        return SD_OK;
    return sd_alloc_floats(&errors->received, sd_network_buffer_elems(run->network));
}

/* Rank 0 receives from the rank that is next; the other ranks pass by until it is their turn to send. */
static sd_status move_next(sd_errors *errors) {
    sd_run *run = errors->run;
    float *place = sd_comm_rank(run->comm) == 0 ? errors->received : sd_reducer_error(run->reducer);
    return sd_comm_copy(run->comm, errors->next++, 0, place, error_bytes(run));
}

static sd_status error_of(void *context, int rank, const float **error) {
    sd_errors *errors = context;
    *error = rank == 0 ? sd_reducer_error(errors->run->reducer) : errors->received;
    return rank == 0 ? SD_OK : move_next(errors);
}

sd_error_of *sd_errors_source(const sd_run *run) { return sd_reducer_error(run->reducer) ? error_of : NULL; }

sd_status sd_errors_end(sd_errors *errors) {
    sd_status status = SD_OK;
    const int ranks = sd_errors_source(errors->run) ? sd_comm_size(errors->run->comm) : 1;
    while (errors->next < ranks && status == SD_OK)
        status = move_next(errors);
    free(errors->received);
    return status;
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
