/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: one sealed HDF5 file holds everything that a run needs to go on bit for bit.
 *
 *     /model/<state_dict name>              parameters and statistics in PyTorch's layout; num_batches_tracked as int64
 *     /optimizer/<state>/<parameter name>   momentum, or exp_avg and exp_avg_sq
 *     /optimizer/kept_steps                 [segments] int64, in the order of the network's buffer
 *     /communication/error/<rank>/<parameter name>   what rounding to bf16 has kept back (communication.wire)
 *     /progress/<member>                    sd_progress; /progress/timing [ranks, phases]: seconds of this epoch
 *     /data/mean, /data/std                 normalisation of the training images
 *     /data/images, /data/hash              [2] of training and validation; of all of the data set
 *     /config                               the resolved configuration, INI text
 *     attributes of /                       format_version, seed, ranks, threads, isa, scale
 *
 * format_version is raised when what is here changes its meaning; other versions are refused. What a version adds
 * beside it, outside of /model, older ones of the same format ignore, and do not hand on when they save; a member of
 * /progress that is missing has its initial value, and timing with another number of phases counts as zeros. All else
 * must be there. Every link is hard and every byte in the file.
 *
 * In front lies a 512-byte HDF5 user block with magic, version, length and the XXH3-128 of the file, which is checked
 * before HDF5 sees a byte. HDF5 itself works in memory; files are written and read whole. Everything here is local;
 * rank 0 calls it, and the state is spread by sd_comm_broadcast(). Errors: SD_ERR_IO (writing), SD_ERR_NOINPUT,
 * SD_ERR_DATA (damaged, or of another model; the message says what). */
#ifndef SDTRAIN_CHECKPOINT_H
#define SDTRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "sdtrain/progress.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A copy of what changes with every step, laid out like the network's buffer, to be written while training goes on. */
typedef struct sd_snapshot {
    size_t elems;
    int states;
    float *values, *state[2];
    int64_t *kept_steps; /* [segments] */
    float *error; /* [ranks][elems] of error feedback (sd_reducer_error()), filled in by the caller; NULL: none */
} sd_snapshot;

/* Room for a copy: values, the optimizer's states, and the error feedback of n_errors ranks (0: none). Free it in
 * any case. SD_ERR_MEMORY. */
sd_status sd_snapshot_create(const sd_network *network, const sd_optimizer *optimizer, int n_errors,
                             sd_snapshot *snapshot);
void sd_snapshot_free(sd_snapshot *snapshot);
/* Copies all but the error feedback, from the network and optimizer that it was created for. */
void sd_snapshot_take(sd_snapshot *snapshot, sd_network *network, sd_optimizer *optimizer);

/* What a checkpoint tells of its run, beside the tensors. */
typedef struct sd_checkpoint_info {
    sd_progress progress;
    char *config; /* the resolved configuration, INI text */
    float mean[3], deviation[3];
    uint64_t train_images, validation_images; /* what it was trained on; 0 and 0: an older file */
    uint64_t data_hash;                       /* likewise (sd_dataset_hash()) */
    uint32_t seed;
    int ranks, threads;
    char isa[16];
    char scale[16]; /* stochastic_depth.scale */
    int n_phases;
    double *timing; /* [ranks][n_phases] */
} sd_checkpoint_info;

/* Frees config and timing, and makes it zeros, which are valid. */
void sd_checkpoint_info_free(sd_checkpoint_info *info);

/* What is saved; all of it is the caller's. */
typedef struct sd_checkpoint_content {
    const sd_network *network;     /* its tables: names, shapes and places of tensors */
    const sd_optimizer *optimizer; /* the names of its states */
    const sd_snapshot *snapshot;   /* the values */
    const sd_checkpoint_info *info;
    int compression; /* of tensors: 0 none, 1 to 9 deflate's levels, behind a byte shuffle */
} sd_checkpoint_content;

/* Writes the file under a temporary name, syncs it and its folder, and renames it to path. May run in another thread
 * than training, as long as that leaves alone snapshot and info. */
sd_status sd_checkpoint_save(const char *path, const sd_checkpoint_content *content);

/* A file read and found whole, not yet applied. */
typedef struct sd_checkpoint_file sd_checkpoint_file;

/* Reads and verifies a file and fills in info. n_phases: of timing; 0: it is not read. On success the caller closes
 * *file; it frees info in any case. */
sd_status sd_checkpoint_open(const char *path, int n_phases, sd_checkpoint_file **file, sd_checkpoint_info *info);
/* Copies its tensors into network and, unless NULL, optimizer: all of them, or none with SD_ERR_DATA. */
sd_status sd_checkpoint_apply(const sd_checkpoint_file *file, sd_network *network, sd_optimizer *optimizer);
/* Copies a rank's error feedback into error, laid out like the network's gradients; parts that are not learned stay
 * as they are. */
sd_status sd_checkpoint_read_error(const sd_checkpoint_file *file, const sd_network *network, int rank, float *error);
void sd_checkpoint_close(sd_checkpoint_file **file);

/* What lies in a file, whatever it is called: for tools. */
typedef enum sd_entry_kind { SD_ENTRY_F32, SD_ENTRY_F64, SD_ENTRY_I64, SD_ENTRY_U64, SD_ENTRY_TEXT } sd_entry_kind;
enum { SD_ENTRY_DIMS = 4, SD_ENTRY_PATH = 192 };
typedef struct sd_entry {
    char path[SD_ENTRY_PATH]; /* "/model/conv1.weight"; an attribute of the file has its bare name, "seed" */
    sd_entry_kind kind;       /* whole numbers of any width are read as 64 bits */
    int dims;
    size_t shape[SD_ENTRY_DIMS], elems;
    size_t elem_bytes; /* as stored; of a text: its length and the zero */
} sd_entry;

/* All datasets, then the attributes of the file, each in the order of names. Caller frees *entries. SD_ERR_DATA: one of
 * a kind, or of a size, that no checkpoint holds. */
sd_status sd_checkpoint_entries(const sd_checkpoint_file *file, sd_entry **entries, int *n);
/* The values of one: [elems] float, double, int64_t or uint64_t, or a text. Caller frees *values. */
sd_status sd_checkpoint_read(const sd_checkpoint_file *file, const sd_entry *entry, void **values);
size_t sd_checkpoint_file_bytes(const sd_checkpoint_file *file);

/* The checkpoints of a run: FOLDER/step-NNNNNNNN.h5, and links latest and best. */
void sd_checkpoint_path(const char *folder, uint64_t step, char *path, size_t path_bytes);
/* Their steps, newest first. *n = 0 if the folder does not exist. Caller frees *steps. */
sd_status sd_checkpoint_list(const char *folder, uint64_t **steps, int *n);
/* Points FOLDER/link at a step's file, in one move: what was there is replaced. A convenience: where it cannot be made,
 * there is none, and one warning. */
void sd_checkpoint_link(const char *folder, const char *link, uint64_t step);
/* Renames those of steps first to last, which are not of the history of a run that goes back: STEP.h5 becomes
 * STEP.h5.aside, which no run takes for its own. */
sd_status sd_checkpoint_set_aside(const char *folder, uint64_t first, uint64_t last);
/* Removes all but the newest keep, the best (0: none), and those whose step is a multiple of keep_every (0: none).
 * Files that do not go are left with one warning. */
void sd_checkpoint_retain(const char *folder, int keep, uint64_t keep_every, uint64_t best_step);
/* Removes what a killed save has left: STEP.h5.part, .latest.part, .best.part. Only for the holder of the run's
 * lock. */
void sd_checkpoint_discard_parts(const char *folder);

#ifdef __cplusplus
}
#endif
#endif
