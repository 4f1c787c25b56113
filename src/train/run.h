/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: a run and its parts. */
#ifndef SDTRAIN_TRAIN_RUN_H
#define SDTRAIN_TRAIN_RUN_H

#include "../base/background.h"
#include "sdtrain/checkpoint.h"
#include "sdtrain/config.h"
#include "sdtrain/data.h"
#include "sdtrain/dist.h"
#include "sdtrain/drop.h"
#include "sdtrain/guard.h"
#include "sdtrain/loss.h"
#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "sdtrain/report.h"

/* What a rank spends its time on. Communication: until sums are complete, once no rank computes any more; wait: for the
 * slowest rank before that. */
#define SD_PHASE_LIST(X)                                                                                               \
    X(DATA, data)                                                                                                      \
    X(FORWARD, forward)                                                                                                \
    X(BACKWARD, backward)                                                                                              \
    X(COMMUNICATION, communication)                                                                                    \
    X(OPTIMIZER, optimizer) X(EVALUATION, evaluation) X(CHECKPOINT, checkpoint) X(WAIT, wait)

typedef enum sd_phase {
#define SD_PHASE_ENUM(upper, lower) SD_PHASE_##upper,
    SD_PHASE_LIST(SD_PHASE_ENUM)
#undef SD_PHASE_ENUM
        SD_PHASE_TOTAL, /* wall time, kept beside the phases */
    SD_PHASES
} sd_phase;

enum { SD_FOLDER_BYTES = 2 * SD_CONFIG_TEXT + 16 };

/* Rank 0's part in saving; snapshot and info belong to the thread while it is busy. */
typedef struct sd_saver {
    sd_background background;
    sd_snapshot snapshot;
    sd_checkpoint_info info;
    double copy_seconds, write_seconds; /* of the last save */
    int failures;                       /* in a row */
    double last_seconds;                /* clock: of the last save; on all ranks */
    double safe_accuracy;               /* of the best checkpoint on the disk */
    uint64_t safe_step;
} sd_saver;

typedef struct sd_run {
    sd_comm *comm;
    const sd_config *config;
    const char *job; /* of --job, or NULL */
    const sd_kernels *kernels;
    int threads;
    char folder[SD_FOLDER_BYTES], checkpoints[SD_FOLDER_BYTES + 16];

    sd_dataset *dataset;
    sd_network *network;
    sd_loss *loss;
    sd_optimizer *optimizer;
    sd_loader *loader;
    sd_reducer *reducer;
    sd_drop_spec drop;
    sd_drop_plan plan, evaluation_plan; /* of the step under way; of an evaluation */
    int shards;                         /* of a batch, over all ranks: as many as ranks, unless reproducible */
    int shards_here;                    /* of them on this rank, which computes one after another */
    sd_drop_part part;                  /* of the images of the pass under way; not with scope = global */
    sd_epoch_plan epoch_plan;
    uint64_t planned_steps;    /* with which the last epoch ends: those done, and those that are left */
    uint64_t total_steps;      /* the run ends after this one: planned_steps, or train.max_steps */
    uint64_t min_shard_images; /* batch norm and fairness need so many a shard */

    uint32_t *order;  /* of the training images in the epoch under way */
    sd_range *ranges; /* this rank's shards of each batch */
    double *sums;     /* [shards_here][...] of numbers that are summed over shards */

    sd_progress progress;
    double timing[SD_PHASES]; /* seconds of the epoch under way */
    double timed_until;       /* clock: what is before it is in timing[TOTAL] */
    double step_begin;        /* clock: end of the step before */
    double waited, stepped;   /* seconds: this rank's waiting for slower ones, and all steps, since the program began */
    sd_budget budget;
    sd_csv steps_csv, epochs_csv, timing_csv, decisions_csv; /* rank 0 */
    sd_console console;
    sd_saver saver;
    sd_trace trace;      /* of the step that log.trace asks for */
    uint64_t first_step; /* of this process */
    double layer_begin;  /* clock: where the layer under way backward began */
} sd_run;

/* Brings up all parts of a run on all ranks. isa: the instruction set a checkpoint wants, or NULL. Collective. */
sd_status sd_run_open(sd_run *run, sd_comm *comm, const sd_config *config, const char *isa);
void sd_run_close(sd_run *run);

/* Fits progress to the epochs of this number of ranks, and sets planned_steps and total_steps to what follows from it:
 * train.epochs epochs in all, whose steps to come have the length that they have on this number of ranks. Local. */
void sd_run_plan_end(sd_run *run);

/* A number for a history that begins here: a new run, or one that goes on from a file of another. Local; rank 0's
 * counts. */
uint64_t sd_run_draw_id(void);

/* Whether all epochs have ended, or train.max_steps are done. */
bool sd_run_is_finished(const sd_run *run);

/* The learning rate of a batch (from 0) of the epoch under way. It follows the place in the epochs, not the count of
 * steps, of which an epoch may have had another number on other ranks. */
double sd_run_lr(const sd_run *run, uint64_t batch);

/* The images of a batch that are one of this rank's shards. */
sd_range sd_run_shard(const sd_run *run, uint64_t images, int shard);

/* Largest number of images in a pass: of a shard. */
int sd_run_max_images(const sd_run *run);

/* What some rank asks for between two steps, and all do. */
typedef struct sd_request {
    bool stop; /* a signal, or the wall-clock budget is spent */
    bool save; /* checkpoint.every_seconds */
} sd_request;

/* One training step on the loader's next batch. Collective. */
sd_status sd_run_step(sd_run *run, sd_request *request);

/* Whether the step's loss and gradients, summed over all ranks, can be used. If not: SD_ERR_DIVERGED with on_nonfinite
 * = stop or after many in a row; with skip a warning. loss: the sum; loss_here: this rank's shards'. Collective. */
sd_status sd_run_check_finite(sd_run *run, uint64_t step, double loss, double loss_here, bool *usable);

/* Gathers every rank's own decisions about a batch of images, compares them with what the seed says on rank 0, and
 * writes the row of decisions.csv. Uses run->part. Collective. */
sd_status sd_run_log_decisions(sd_run *run, uint64_t step, uint64_t images);

/* log.trace. begin and end are collective and do nothing but in the step asked for. */
sd_status sd_run_prepare_trace(sd_run *run);
sd_status sd_run_begin_trace(sd_run *run, uint64_t step);
void sd_run_trace_phase(sd_run *run, sd_phase phase, double begin, double end);
void sd_run_trace_segment(sd_run *run, int segment);
sd_status sd_run_end_trace(sd_run *run, uint64_t step);

/* Mean loss (without label smoothing) and accuracies of the first n images of a split, without augmentation. *stopped:
 * a rank was asked to stop meanwhile (by a signal, or its wall-clock budget), so that all have left after the pass
 * under way and *score holds nothing; with stopped NULL nobody asks. Collective. */
typedef struct sd_score {
    double loss, top1, top5;
    uint64_t images;
} sd_score;
sd_status sd_run_score(sd_run *run, sd_split split, uint64_t n, sd_score *score, bool *stopped);
/* How many images the end of the epoch under way scores. */
uint64_t sd_run_scored_images(const sd_run *run);

/* The folder and its logs on rank 0, cut to where progress says. Collective. */
sd_status sd_run_open_logs(sd_run *run);
/* Scores the epoch whose batches are done, writes its rows, and resets its partial sums. *stopped: asked to stop while
 * it scored; then progress is what it was, and a run that goes on from there ends the epoch. Collective. */
sd_status sd_run_end_epoch(sd_run *run, bool *stopped);
/* summary.json of a run that has begun, or can go on no more, with no closing words. Local: rank 0 writes. */
sd_status sd_run_mark(const sd_run *run, const char *state);
/* summary.json and the closing words. Collective. */
sd_status sd_run_summarise(sd_run *run, const char *status);

sd_status sd_run_prepare_saving(sd_run *run);
void sd_run_close_saving(sd_run *run);
/* Copies the state as it is, and lets it be written while training goes on, once the write before has ended. planned:
 * it is a checkpoint that an uninterrupted run writes too; only those may be the best. SD_ERR_IO after
 * checkpoint.max_failures in a row. Collective. */
sd_status sd_run_save(sd_run *run, bool planned);
/* Tells of a write that has failed meanwhile. Rank 0. */
sd_status sd_run_look_after_saving(sd_run *run);
/* Waits for the write under way; SD_ERR_IO if it fails. Collective. */
sd_status sd_run_finish_saving(sd_run *run);
/* Whether checkpoint.every_seconds have passed since the last one. Rank 0's clock decides; false on others. */
bool sd_run_save_is_due(const sd_run *run);

/* With communication.wire = bf16: every rank's error feedback (sd_reducer_error()) into all, [ranks][buffer] on rank
 * 0. Collective. */
sd_status sd_errors_collect(sd_run *run, float *all);
/* Gives each rank its own, or, on another number of ranks, rank 0 the sum of all. Collective. */
sd_status sd_errors_restore(sd_run *run, sd_checkpoint_file *file, int ranks);

/* A checkpoint found to go on from, on rank 0; info on all ranks. */
typedef struct sd_resume {
    bool found;
    bool elsewhere; /* it is not the file of its step in this run's folder, which begins with one of its own then */
    bool foreign;   /* nor are the logs there those of its history */
    char path[SD_FOLDER_BYTES + 64];
    sd_checkpoint_file *file; /* rank 0 */
    sd_checkpoint_info info;  /* its texts and timing on rank 0 only */
} sd_resume;
/* What [checkpoint] resume asks for; "auto" where the folder's last start was one of this job (NULL: none).
 * Collective. */
sd_status sd_resume_find(sd_comm *comm, const sd_config *config, const char *job, sd_resume *resume);
/* SD_ERR_DATA if the data set is not the one that it was trained on, naming what differs. Collective. */
sd_status sd_resume_check_data(const sd_resume *resume, const sd_run *run);
/* A warning of it. Local. */
void sd_resume_compare_data(const sd_resume *resume, const sd_run *run);
/* Opens one file. Collective. */
sd_status sd_resume_open(sd_comm *comm, const char *path, sd_resume *resume);
/* Copies its tensors, and with_optimizer the optimizer's state and progress, to all ranks. Collective. */
sd_status sd_resume_apply(sd_resume *resume, sd_run *run, bool with_optimizer);
/* Makes the run's folder that of a run at its progress: later checkpoints are set aside, the links point where they
 * should. With a foreign file logs begin anew, and what another run has left in their place is set aside.
 * *summarised: whether summary.json says that the run is complete. Collective. */
sd_status sd_resume_settle(const sd_resume *resume, sd_run *run, bool *summarised);
/* A file from elsewhere: saves its state as a checkpoint of this run, from which "auto" goes on, then sets later ones
 * aside; with a foreign file earlier ones too. Before the first step. Collective. */
sd_status sd_resume_adopt(sd_run *run, bool foreign);
void sd_resume_close(sd_resume *resume);

/* Folders of a run, from its configuration. */
void sd_run_folders(const sd_config *config, char *folder, size_t folder_bytes, char *checkpoints,
                    size_t checkpoints_bytes);

/* Adds the seconds since begin to a phase; returns now. */
double sd_run_charge(sd_run *run, sd_phase phase, double begin);

/* How long the slowest disk thought of takes for a checkpoint. */
double sd_run_file_seconds(const sd_run *run);
/* Of what a checkpoint holds. */
size_t sd_run_state_bytes(const sd_run *run);

#endif
