/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm.h"
#include "sdtrain/arena.h"

enum { ABORT_SECONDS = 30 };

sd_status sd_mpi_status(int code, const char *call) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (code == MPI_SUCCESS)
        return SD_OK;
    MPI_Error_string(code, text, &length);
    return sd_fail(SD_ERR_INTERNAL, "%s failed: %.*s", call, length, text);
}

/* Settings of Open MPI that the user may override. Waiting ranks yield their core. An in-place MPI_Iallreduce uses
 * Rabenseifner's algorithm (halving and doubling), which sends each byte at most twice; the default, a binomial tree,
 * sends it lg R times. */
static void prepare_environment(void) {
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0);
}

sd_status sd_comm_start(int *argc, char ***argv, sd_comm **place) {
    SD_TRY(sd_alloc(place, 1, sizeof **place));
    sd_comm *comm = *place;
    prepare_environment();
    SD_MPI(MPI_Init_thread, argc, argv, MPI_THREAD_SERIALIZED, &comm->thread_level);
    if (comm->thread_level < MPI_THREAD_FUNNELED)
        return sd_fail(SD_ERR_INTERNAL, "this MPI library does not allow threads beside it (MPI_THREAD_FUNNELED)");
    SD_MPI(MPI_Comm_dup, MPI_COMM_WORLD, &comm->mpi);
    SD_MPI(MPI_Comm_set_errhandler, comm->mpi, MPI_ERRORS_RETURN);
    SD_MPI(MPI_Comm_rank, comm->mpi, &comm->rank);
    SD_MPI(MPI_Comm_size, comm->mpi, &comm->size);
    SD_MPI(MPI_Op_create, sd_wire_sum, true, &comm->sum_bf16);
    MPI_Comm local;
    SD_MPI(MPI_Comm_split_type, comm->mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    SD_MPI(MPI_Comm_size, local, &comm->local_size);
    SD_MPI(MPI_Comm_free, &local);
    SD_TRY(sd_alloc(&comm->hosts, (size_t)comm->size, sizeof *comm->hosts));
    gethostname(comm->hosts[comm->rank], SD_HOST_BYTES - 1);
    SD_MPI(MPI_Allgather, MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, comm->hosts, SD_HOST_BYTES, MPI_CHAR, comm->mpi);
    return sd_alloc(&comm->gathered, (size_t)comm->size * SD_MAX_SUMS, sizeof *comm->gathered);
}

void sd_comm_finish(sd_comm **place) {
    sd_comm *comm = *place;
    if (!comm)
        return;
    sd_progress_thread_stop(&comm->thread);
    MPI_Op_free(&comm->sum_bf16);
    MPI_Comm_free(&comm->mpi);
    MPI_Finalize();
    free(comm->hosts);
    free(comm->gathered);
    free(comm);
    *place = NULL;
}

void sd_comm_abort(sd_comm *comm, int exit_code) {
    alarm(ABORT_SECONDS); /* ends this rank, and so the job, if MPI_Abort hangs */
    MPI_Abort(comm->mpi, exit_code);
    for (;;) /* until MPI_Abort has ended this rank too */
        pause();
}

int sd_comm_rank(const sd_comm *comm) { return comm->rank; }
int sd_comm_size(const sd_comm *comm) { return comm->size; }
int sd_comm_local_size(const sd_comm *comm) { return comm->local_size; }
const char *sd_comm_host(const sd_comm *comm) { return comm->hosts[comm->rank]; }
const char *sd_comm_host_of(const sd_comm *comm, int rank) { return comm->hosts[rank]; }
const char *sd_comm_waits_for(const sd_comm *comm) {
    return atomic_load_explicit(&comm->calling, memory_order_relaxed);
}
bool sd_comm_failed_together(const sd_comm *comm) { return comm->failed_together; }

const char *sd_comm_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

/* ---- collectives, run by the thread that may call MPI ---- */

typedef struct operands {
    void *data, *all; /* all: of a gather */
    size_t bytes;
    int n, root, to; /* to: of a copy from root */
    MPI_Datatype type;
    MPI_Op op;
} operands;

static sd_status allreduce(sd_comm *comm, void *context) {
    const operands *o = context;
    SD_MPI(MPI_Allreduce, MPI_IN_PLACE, o->data, o->n, o->type, o->op, comm->mpi);
    return SD_OK;
}

static sd_status broadcast(sd_comm *comm, void *context) {
    const operands *o = context;
    size_t bytes = o->bytes;
    for (unsigned char *at = o->data; bytes > 0;) {
        int now = bytes < INT_MAX ? (int)bytes : INT_MAX;
        SD_MPI(MPI_Bcast, at, now, MPI_BYTE, o->root, comm->mpi);
        at += now;
        bytes -= (size_t)now;
    }
    return SD_OK;
}

static sd_status gather(sd_comm *comm, void *context) {
    const operands *o = context;
    SD_MPI(MPI_Gather, o->data, (int)o->bytes, MPI_BYTE, o->all, (int)o->bytes, MPI_BYTE, 0, comm->mpi);
    return SD_OK;
}

static sd_status allgather(sd_comm *comm, void *context) {
    const operands *o = context;
    SD_MPI(MPI_Allgather, o->data, o->n, o->type, o->all, o->n, o->type, comm->mpi);
    return SD_OK;
}

static sd_status copy(sd_comm *comm, void *context) {
    const operands *o = context;
    size_t bytes = o->bytes;
    for (unsigned char *at = o->data; bytes > 0;) {
        int now = bytes < INT_MAX ? (int)bytes : INT_MAX;
        if (comm->rank == o->root)
            SD_MPI(MPI_Send, at, now, MPI_BYTE, o->to, SD_TAG_COPY, comm->mpi);
        else
            SD_MPI(MPI_Recv, at, now, MPI_BYTE, o->root, SD_TAG_COPY, comm->mpi, MPI_STATUS_IGNORE);
        at += now;
        bytes -= (size_t)now;
    }
    return SD_OK;
}

sd_status sd_comm_agree(sd_comm *comm, sd_status status) {
    int first = status == SD_OK ? INT_MAX : comm->rank, code = (int)status;
    SD_TRY(sd_comm_call(comm, "agreement of all ranks", allreduce,
                        &(operands){.data = &first, .n = 1, .type = MPI_INT, .op = MPI_MIN}));
    if (first == INT_MAX)
        return SD_OK;
    SD_TRY(sd_comm_call(comm, "agreement of all ranks", broadcast,
                        &(operands){.data = &code, .bytes = sizeof code, .root = first}));
    if (comm->rank != first)
        sd_error_clear(); /* one rank has the message */
    comm->failed_together = true;
    return (sd_status)code;
}

sd_status sd_comm_broadcast(sd_comm *comm, void *data, size_t bytes) {
    return sd_comm_call(comm, "broadcast", broadcast, &(operands){.data = data, .bytes = bytes});
}

sd_status sd_comm_copy(sd_comm *comm, int from, int to, void *data, size_t bytes) {
    if (from == to || (comm->rank != from && comm->rank != to))
        return SD_OK;
    return sd_comm_call(comm, "copy between two ranks", copy,
                        &(operands){.data = data, .bytes = bytes, .root = from, .to = to});
}

sd_status sd_comm_max(sd_comm *comm, double *values, int n) {
    return sd_comm_call(comm, "maximum over ranks", allreduce,
                        &(operands){.data = values, .n = n, .type = MPI_DOUBLE, .op = MPI_MAX});
}

sd_status sd_comm_sum(sd_comm *comm, double *values, int shards, int n) {
    sd_tree_fold(values, shards, n);
    for (; n > SD_MAX_SUMS; n -= SD_MAX_SUMS, values += SD_MAX_SUMS)
        SD_TRY(sd_comm_sum(comm, values, 1, SD_MAX_SUMS));
    SD_TRY(sd_comm_call(comm, "sum over ranks", allgather,
                        &(operands){.data = values, .n = n, .type = MPI_DOUBLE, .all = comm->gathered}));
    sd_tree_fold(comm->gathered, comm->size, n);
    memcpy(values, comm->gathered, (size_t)n * sizeof *values);
    return SD_OK;
}

sd_status sd_comm_gather(sd_comm *comm, const void *mine, size_t bytes, void *all) {
    if (bytes > INT_MAX)
        return sd_fail(SD_ERR_INTERNAL, "a gather of %zu bytes is too large", bytes);
    return sd_comm_call(comm, "gather to rank 0", gather,
                        &(operands){.data = (void *)mine, .bytes = bytes, .all = all});
}
