#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm.h"
#include "sdtrain/arena.h"

sd_status sd_mpi_status(int code, const char *call) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (code == MPI_SUCCESS)
        return SD_OK;
    MPI_Error_string(code, text, &length);
    return sd_fail(SD_ERR_INTERNAL, "%s failed: %.*s", call, length, text);
}

sd_status sd_comm_start(int *argc, char ***argv, sd_comm **place) {
    int provided;
    SD_TRY(sd_alloc(place, 1, sizeof **place));
    sd_comm *comm = *place;
    SD_MPI(MPI_Init_thread, argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (provided < MPI_THREAD_FUNNELED)
        return sd_fail(SD_ERR_INTERNAL, "this MPI library does not allow threads beside it (MPI_THREAD_FUNNELED)");
    SD_MPI(MPI_Comm_dup, MPI_COMM_WORLD, &comm->mpi);
    SD_MPI(MPI_Comm_set_errhandler, comm->mpi, MPI_ERRORS_RETURN);
    SD_MPI(MPI_Comm_rank, comm->mpi, &comm->rank);
    SD_MPI(MPI_Comm_size, comm->mpi, &comm->size);
    MPI_Comm local;
    SD_MPI(MPI_Comm_split_type, comm->mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    SD_MPI(MPI_Comm_size, local, &comm->local_size);
    SD_MPI(MPI_Comm_free, &local);
    gethostname(comm->host, sizeof comm->host - 1);
    return SD_OK;
}

void sd_comm_finish(sd_comm **comm) {
    if (!*comm)
        return;
    MPI_Comm_free(&(*comm)->mpi);
    MPI_Finalize();
    free(*comm);
    *comm = NULL;
}

void sd_comm_abort(sd_comm *comm, int exit_code) {
    MPI_Abort(comm->mpi, exit_code);
    for (;;) /* until it has ended this rank too */
        pause();
}

int sd_comm_rank(const sd_comm *comm) { return comm->rank; }
int sd_comm_size(const sd_comm *comm) { return comm->size; }
int sd_comm_local_size(const sd_comm *comm) { return comm->local_size; }
const char *sd_comm_host(const sd_comm *comm) { return comm->host; }
bool sd_comm_failed_together(const sd_comm *comm) { return comm->failed_together; }

const char *sd_comm_library(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

sd_status sd_comm_agree(sd_comm *comm, sd_status status) {
    int first = status == SD_OK ? INT_MAX : comm->rank, code = (int)status;
    SD_MPI(MPI_Allreduce, MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm->mpi);
    if (first == INT_MAX)
        return SD_OK;
    SD_MPI(MPI_Bcast, &code, 1, MPI_INT, first, comm->mpi);
    if (comm->rank != first)
        sd_error_clear(); /* one rank speaks */
    comm->failed_together = true;
    return (sd_status)code;
}

sd_status sd_comm_broadcast(sd_comm *comm, void *data, size_t bytes) {
    for (unsigned char *at = data; bytes > 0;) {
        int now = bytes < INT_MAX ? (int)bytes : INT_MAX;
        SD_MPI(MPI_Bcast, at, now, MPI_BYTE, 0, comm->mpi);
        at += now;
        bytes -= (size_t)now;
    }
    return SD_OK;
}

sd_status sd_comm_sum(sd_comm *comm, double *values, int n) {
    SD_MPI(MPI_Allreduce, MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, comm->mpi);
    return SD_OK;
}

sd_status sd_comm_max(sd_comm *comm, double *values, int n) {
    SD_MPI(MPI_Allreduce, MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_MAX, comm->mpi);
    return SD_OK;
}

sd_status sd_comm_gather(sd_comm *comm, const void *mine, size_t bytes, void *all) {
    if (bytes > INT_MAX)
        return sd_fail(SD_ERR_INTERNAL, "a gather of %zu bytes is too large", bytes);
    SD_MPI(MPI_Gather, mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, 0, comm->mpi);
    return SD_OK;
}
