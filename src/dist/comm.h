/* Private to dist/. */
#ifndef SDTRAIN_DIST_COMM_H
#define SDTRAIN_DIST_COMM_H

#include <mpi.h>

#include "sdtrain/dist.h"

enum { SD_HOST_BYTES = 64 };

struct sd_comm {
    MPI_Comm mpi;
    int rank, size, local_size;
    char host[SD_HOST_BYTES];
    bool failed_together;
};

/* A status from an MPI return code. */
sd_status sd_mpi_status(int code, const char *call);

/* Calls an MPI function and returns from the caller if it fails. */
#define SD_MPI(function, ...) SD_TRY(sd_mpi_status(function(__VA_ARGS__), #function))

#endif
