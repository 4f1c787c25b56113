/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: what a run computes with, whatever it trains: its ranks, its configuration, kernels and threads,
 * and where its files go. */
#ifndef SDTRAIN_TRAIN_SESSION_H
#define SDTRAIN_TRAIN_SESSION_H

#include <stdbool.h>

#include "sdtrain/config.h"
#include "sdtrain/dist.h"

enum { SD_FOLDER_BYTES = 2 * SD_CONFIG_TEXT + 16, SD_PATH_BYTES = SD_FOLDER_BYTES + 64 };

/* OUTPUT/NAME, and OUTPUT/NAME/checkpoints. */
typedef struct sd_folders {
    char run[SD_FOLDER_BYTES], checkpoints[SD_FOLDER_BYTES + 16];
} sd_folders;
sd_folders sd_folders_of(const sd_config *config);

typedef struct sd_session {
    sd_comm *comm;
    const sd_config *config;
    const char *job; /* of --job, or NULL */
    const sd_kernels *kernels;
    int threads;
    sd_folders folders;
} sd_session;

/* Chooses threads, and the best instruction set that all ranks have. isa: the one a checkpoint was trained with, or
 * NULL; it is taken if all ranks have it and SD_ISA does not ask for another. Collective. */
sd_status sd_session_open(sd_session *session, sd_comm *comm, const sd_config *config, const char *job,
                          const char *isa);

/* Whether this is rank 0, which writes and speaks. */
bool sd_session_is_root(const sd_session *session);

#endif
