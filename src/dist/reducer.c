#include <limits.h>
#include <string.h>

#include "comm.h"
#include "sdtrain/clock.h"

void sd_reducer_init(sd_reducer *reducer, sd_comm *comm, sd_network *network, size_t bucket_bytes, bool skip_dropped) {
    *reducer = (sd_reducer){
        .comm = comm, .network = network, .bucket_elems = bucket_bytes / sizeof(float), .skip_dropped = skip_dropped};
}

void sd_reducer_begin(sd_reducer *reducer, const sd_drop_plan *plan) {
    reducer->plan = plan;
    reducer->elems = 0;
    reducer->status = SD_OK;
    reducer->parameter_bytes = 0;
    reducer->seconds = 0;
}

static sd_status sum_floats(sd_comm *comm, float *data, size_t elems) {
    while (elems > 0) {
        int now = elems < INT_MAX ? (int)elems : INT_MAX;
        SD_MPI(MPI_Allreduce, MPI_IN_PLACE, data, now, MPI_FLOAT, MPI_SUM, comm->mpi);
        data += now;
        elems -= (size_t)now;
    }
    return SD_OK;
}

/* Sends the open bucket. */
static void flush(sd_reducer *reducer) {
    if (reducer->elems == 0 || reducer->status != SD_OK)
        return;
    double begin = sd_clock_seconds();
    reducer->status =
        sum_floats(reducer->comm, sd_network_gradients(reducer->network) + reducer->first_elem, reducer->elems);
    reducer->elems = 0;
    reducer->seconds += sd_clock_seconds() - begin;
}

void sd_reducer_segment_done(void *context, int index) {
    sd_reducer *reducer = context;
    if (reducer->comm->size == 1)
        return;
    const sd_segment *segment = sd_network_segment(reducer->network, index);
    if (!sd_segment_is_kept(segment, reducer->plan)) {
        if (reducer->skip_dropped) {
            flush(reducer); /* what follows is not adjacent */
            return;
        }
        memset(sd_network_gradients(reducer->network) + segment->offset_elems, 0, segment->elems * sizeof(float));
    }
    if (reducer->elems > 0 && reducer->elems + segment->elems > reducer->bucket_elems)
        flush(reducer);
    if (reducer->elems == 0)
        reducer->first_elem = segment->offset_elems;
    reducer->elems += segment->elems;
    reducer->parameter_bytes += segment->parameter_elems * sizeof(float);
}

sd_status sd_reducer_end(sd_reducer *reducer) {
    flush(reducer);
    return reducer->status;
}
