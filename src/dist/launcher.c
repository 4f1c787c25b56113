/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that the launcher and the linked MPI library work together. */
#include <stdlib.h>

#include "comm.h"

/* Environment variables in which launchers give a process the number of processes and its own number. NULL: none. */
typedef struct launcher {
    const char *size, *rank;
    const char *shell; /* set in an interactive shell, whose children are not such processes */
} launcher;

/* The innermost first: mpirun starts its daemons by srun, and ranks inherit the daemons' SLURM variables. */
static const launcher launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", NULL},     /* mpirun of Open MPI */
    {"PMI_SIZE", "PMI_RANK", NULL},                             /* mpiexec of MPICH and Intel MPI; srun --mpi=pmi2 */
    {"MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", NULL},       /* mpirun_rsh of MVAPICH */
    {NULL, "PALS_RANKID", NULL},                                /* mpiexec of HPE PALS */
    {NULL, "ALPS_APP_PE", NULL},                                /* aprun */
    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_PTY_PORT"}, /* srun; the batch script lacks it */
};

static int number(const char *variable) {
    const char *text = variable ? getenv(variable) : NULL;
    return text ? atoi(text) : -1;
}

sd_status sd_comm_check_launcher(const sd_comm *comm) {
    if (comm->size > 1)
        return SD_OK;
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const launcher *l = &launchers[i];
        const int size = number(l->size), rank = number(l->rank), processes = size > rank ? size : rank + 1;
        if (processes < 1 || (l->shell && getenv(l->shell)))
            continue;
        if (processes == 1)
            return SD_OK;
        const char *variable = size > rank ? l->size : l->rank;
        const sd_status status =
            sd_fail(SD_ERR_USAGE,
                    "MPI has 1 rank where the launcher started %s%d processes (%s=%s); use the "
                    "mpirun of %s, or srun --mpi=pmix",
                    size > rank ? "" : "at least ", processes, variable, getenv(variable), sd_comm_library());
        if (size > rank && rank > 0)
            sd_error_clear(); /* process 0 has the message */
        return status;
    }
    return SD_OK;
}
