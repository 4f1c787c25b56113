/* Checkpoints: one sealed HDF5 file holds everything that a run needs to go on bit for bit.
 *
 *     /model/<state_dict name>              parameters and statistics in PyTorch's layout; num_batches_tracked as int64
 *     /optimizer/<state>/<parameter name>   momentum, or exp_avg and exp_avg_sq
 *     /optimizer/kept_steps                 [segments] int64, in the order of the network's buffer
 *     /progress/<member>                    sd_progress; /progress/timing [ranks, phases]
 *     /data/mean, /data/std                 normalisation of the training images
 *     /config                               the resolved configuration, INI text
 *     attributes of /                       format_version, seed, ranks, threads, isa, scale
 *
 * In front lies a 512-byte HDF5 user block with magic, version, length and the XXH3-128 of the file, which is checked before
 * HDF5 sees a byte. HDF5 itself works in memory; files are written and read whole. Everything here is local; rank 0 calls it,
 * and the state is spread by sd_comm_broadcast(). Errors: SD_ERR_IO (writing), SD_ERR_NOINPUT, SD_ERR_DATA (damaged, or of
 * another model; the message says what).
 */
#ifndef SDTRAIN_CHECKPOINT_H
#define SDTRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/nn.h"
#include "sdtrain/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where a run is. X(type, member): all of 8 bytes. */
#define SD_PROGRESS_LIST(X)                                                                                            \
    X(uint64_t, step)         /* updates done */                                                                       \
    X(uint64_t, epoch)        /* epochs completed */                                                                   \
    X(uint64_t, batch)        /* batches done of the epoch under way */                                                \
    X(uint64_t, epoch_images) /* partial sums of the epoch under way ... */                                            \
    X(uint64_t, epoch_correct)                                                                                         \
    X(double, epoch_loss)                                                                                              \
    X(double, epoch_kept) /* branches computed for an image, on average: sum over steps */                             \
    X(uint64_t, epoch_decisions)                                                                                       \
    X(double, epoch_seconds)                                                                                           \
    X(uint64_t, images) /* totals of the run ... */                                                                    \
    X(double, kept)                                                                                                    \
    X(uint64_t, decisions)                                                                                             \
    X(uint64_t, bytes_reduced)                                                                                         \
    X(uint64_t, bytes_full)                                                                                            \
    X(double, seconds)                                                                                                 \
    X(uint64_t, skipped_steps) /* of step: whose update was left out */                                                \
    X(double, train_loss)      /* of the last epoch row; NAN: no value */                                              \
    X(double, train_accuracy)                                                                                          \
    X(double, val_loss)                                                                                                \
    X(double, val_accuracy)                                                                                            \
    X(double, val_top5_accuracy)                                                                                       \
    X(double, train_eval_accuracy)                                                                                     \
    X(double, best_accuracy) /* NAN: none yet */                                                                       \
    X(uint64_t, best_step)                                                                                             \
    X(uint64_t, steps_csv_bytes) /* lengths of the logs at this moment */                                              \
    X(uint64_t, epochs_csv_bytes)                                                                                      \
    X(uint64_t, timing_csv_bytes)                                                                                      \
    X(uint64_t, decisions_csv_bytes)

typedef struct sd_progress {
#define SD_PROGRESS_MEMBER(type, member) type member;
    SD_PROGRESS_LIST(SD_PROGRESS_MEMBER)
#undef SD_PROGRESS_MEMBER
} sd_progress;

typedef struct sd_checkpoint {
    sd_network *network;
    sd_optimizer *optimizer; /* NULL when loading for evaluation */
    sd_progress progress;
    char *config; /* loading: allocated, caller frees */
    float mean[3], deviation[3];
    uint32_t seed;
    int ranks, threads;
    char isa[16];
    char scale[16]; /* stochastic_depth.scale */
    double *timing; /* [ranks][n_phases] of the epoch under way; loading: allocated if there, caller frees */
    int n_phases;
} sd_checkpoint;

/* Writes the file under a temporary name, syncs it and its folder, and renames it to path. */
sd_status sd_checkpoint_save(const char *path, const sd_checkpoint *checkpoint);

/* A file read and found whole, not yet applied. */
typedef struct sd_checkpoint_file sd_checkpoint_file;

/* Reads and verifies a file and fills in what describes the run (all but the tensors). */
sd_status sd_checkpoint_open(const char *path, sd_checkpoint_file **file, sd_checkpoint *described);
/* Copies its tensors into checkpoint->network and, unless NULL, checkpoint->optimizer; refuses those of another model. */
sd_status sd_checkpoint_apply(sd_checkpoint_file *file, sd_checkpoint *checkpoint);
void sd_checkpoint_close(sd_checkpoint_file **file);

/* The checkpoints of a run: FOLDER/step-NNNNNNNN.h5, and links latest and best. */
void sd_checkpoint_path(const char *folder, uint64_t step, char *path, size_t path_bytes);
/* Their steps, newest first. *n = 0 if the folder does not exist. Caller frees *steps. */
sd_status sd_checkpoint_list(const char *folder, uint64_t **steps, int *n);
/* Points FOLDER/link at a step's file, in one move. */
sd_status sd_checkpoint_link(const char *folder, const char *link, uint64_t step);
/* Renames what lies after a step that a run goes back to: STEP.h5 becomes STEP.h5.aside, which no run takes for its own. */
sd_status sd_checkpoint_set_aside(const char *folder, uint64_t step);
/* Removes all but the newest keep and the best (0: none). Files that do not go are left with a warning. */
void sd_checkpoint_retain(const char *folder, int keep, uint64_t best_step);

#ifdef __cplusplus
}
#endif
#endif
