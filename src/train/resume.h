/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: going on from a checkpoint. */
#ifndef SDTRAIN_TRAIN_RESUME_H
#define SDTRAIN_TRAIN_RESUME_H

#include "sdtrain/checkpoint.h"
#include "sdtrain/data.h"
#include "session.h"

typedef struct sd_run sd_run;

/* A checkpoint found to go on from, on rank 0; info on all ranks. */
typedef struct sd_resume {
    bool found;
    bool elsewhere; /* it is not the file of its step in this run's folder, which begins with one of its own then */
    bool foreign;   /* nor are the logs there those of its history */
    char path[SD_PATH_BYTES];
    char init[SD_CONFIG_TEXT], init_digest[SD_CONFIG_TEXT]; /* its model.init and model.init_digest */
    sd_checkpoint_file *file;                               /* rank 0 */
    sd_checkpoint_info info;                                /* its texts and timing on rank 0 only */
} sd_resume;

/* ---- finding it (resume_find.c) ---- */

/* What [checkpoint] resume asks for; "auto" where the folder's last start was one of this job (NULL: none).
 * Collective. */
sd_status sd_resume_find(sd_comm *comm, const sd_config *config, const char *job, sd_resume *resume);
/* Opens one file. Collective. */
sd_status sd_resume_open(sd_comm *comm, const char *path, sd_resume *resume);
void sd_resume_close(sd_resume *resume);

/* ---- whether it fits the data (resume_data.c) ---- */

/* SD_ERR_DATA if the data set is not the one that it was trained on, naming what differs. Collective. */
sd_status sd_resume_check_data(const sd_resume *resume, const sd_session *session, const sd_dataset *dataset);
/* A warning of it. Local. */
void sd_resume_compare_data(const sd_resume *resume, const sd_dataset *dataset);

/* ---- taking its state (resume.c) ---- */

/* Copies its tensors, and with_optimizer the optimizer's state and progress, to all ranks. Collective. */
sd_status sd_resume_apply(sd_resume *resume, sd_run *run, bool with_optimizer);

/* ---- the run's folder (resume_folder.c) ---- */

/* Makes the run's folder that of a run at its progress: later checkpoints are set aside, the links point where they
 * should. With a foreign file logs begin anew, and what another run has left in their place is set aside.
 * *summarised: whether summary.json says that the run is complete. Collective. */
sd_status sd_resume_settle(const sd_resume *resume, sd_run *run, bool *summarised);
/* A file from elsewhere: saves its state as a checkpoint of this run, from which "auto" goes on, then sets later ones
 * aside; with a foreign file earlier ones too. Before the first step. Collective. */
sd_status sd_resume_adopt(sd_run *run, bool foreign);

#endif
