/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: one sealed HDF5 file with the complete state of a run, which resumes from it bit for bit.
 *
 *     /model/<state_dict name>              parameters and statistics in PyTorch's layout; num_batches_tracked as int64
 *     /optimizer/<state>/<parameter name>   momentum, or exp_avg and exp_avg_sq
 *     /optimizer/kept_steps                 [segments] int64, in the order of the network's buffer
 *     /communication/error/<rank>/<parameter name>   what rounding to bf16 has kept back (communication.wire)
 *     /progress/<member>                    sd_progress; /progress/timing [ranks, phases]: seconds of this epoch
 *     /data/mean, /data/std                 normalisation of the training images
 *     /data/images, /data/hash              [2] of training and validation; of all of the data set
 *     /data/samples, /data/classes          [2] image size, classes; the names of classes, a line each
 *     /data/texts, /data/vocab              [2] sequence, vocabulary; its pieces, a line each: of texts
 *     /config                               the resolved configuration, INI text
 *     attributes of /                       format_version, seed, ranks, threads, isa, scale
 *
 * format_version changes when an entry above changes its meaning; files of another version are refused. Unknown entries
 * outside of /model are ignored, and lost at the next save. A missing member of /progress has its initial value; timing
 * with another number of phases counts as zeros; anything else missing is an error. Every link is hard, and every byte
 * lies in the file.
 *
 * The file begins with a 512-byte HDF5 user block: magic, version, length and XXH3-128 of the file, checked before HDF5
 * sees a byte. HDF5 works in memory; files are written and read whole. Local; rank 0 calls these functions, and
 * broadcasts the state. Errors: SD_ERR_IO (writing), SD_ERR_NOINPUT, SD_ERR_DATA (damaged, or of another model), with
 * the reason. */
#ifndef SDTRAIN_CHECKPOINT_H
#define SDTRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "sdtrain/progress.h"
#include "sdtrain/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A copy of the state that changes with every step, to be written while training goes on. Buffers are laid out like the
 * network's. */
typedef struct sd_snapshot {
    size_t elems;
    int states;
    float *values, *state[2];
    int64_t *kept_steps; /* [segments] */
    float *error; /* [ranks][elems] of error feedback (sd_reducer_error()), filled in by the caller; NULL: none */
} sd_snapshot;

/* Allocates a snapshot: values, the optimizer's states, and the error feedback of n_errors ranks (0: none).
 * SD_ERR_MEMORY; free it in any case. */
sd_status sd_snapshot_create(const sd_network *network, const sd_optimizer *optimizer, int n_errors,
                             sd_snapshot *snapshot);
void sd_snapshot_free(sd_snapshot *snapshot);
/* Copies all but the error feedback, from the network and optimizer that it was created for. */
void sd_snapshot_take(sd_snapshot *snapshot, sd_network *network, sd_optimizer *optimizer);

/* The content of a checkpoint beside its tensors. */
typedef struct sd_checkpoint_info {
    sd_progress progress;
    char *config; /* the resolved configuration, INI text */
    float mean[3], deviation[3];
    uint64_t train_images, validation_images; /* 0 and 0: an older file */
    uint64_t data_hash;                       /* sd_dataset_hash(); 0: an older file */
    int image_size, classes;                  /* sd_sample_spec; 0 and 0: an older file */
    char *class_names;                        /* a line each; NULL: they have none, or an older file */
    int sequence, vocabulary;                 /* likewise; of images 0 */
    char *vocab;                              /* of texts: content of vocab.txt; NULL: images */
    uint32_t seed;
    int ranks, threads;
    char isa[16];
    char scale[16]; /* stochastic_depth.scale */
    int n_phases;
    double *timing; /* [ranks][n_phases] */
} sd_checkpoint_info;

/* Frees config, class_names, vocab and timing, and zeroes info; a zeroed info is valid. */
void sd_checkpoint_info_free(sd_checkpoint_info *info);

/* The input of a save, owned by the caller. */
typedef struct sd_checkpoint_content {
    const sd_network *network;     /* for names, shapes and offsets of tensors */
    const sd_optimizer *optimizer; /* for the names of its states */
    const sd_snapshot *snapshot;   /* the values */
    const sd_checkpoint_info *info;
    int compression; /* of tensors: 0 none, 1..9 shuffle and deflate at this level */
} sd_checkpoint_content;

/* Writes the file under a temporary name, syncs it, renames it to path, and syncs the folder. May run on a thread
 * beside training, which must not change snapshot and info meanwhile. */
sd_status sd_checkpoint_save(const char *path, const sd_checkpoint_content *content);

/* A file that has been read and verified. */
typedef struct sd_checkpoint_file sd_checkpoint_file;

/* Reads and verifies a file, and fills info. n_phases: of timing; 0: timing is not read. The caller closes *file on
 * success, and frees info in any case. */
sd_status sd_checkpoint_open(const char *path, int n_phases, sd_checkpoint_file **file, sd_checkpoint_info *info);
/* Copies all tensors into network and, unless NULL, optimizer; on SD_ERR_DATA none. */
sd_status sd_checkpoint_apply(const sd_checkpoint_file *file, sd_network *network, sd_optimizer *optimizer);
/* Copies a rank's error feedback of parameters into error, laid out like the network's gradients; leaves the rest of
 * error. */
sd_status sd_checkpoint_read_error(const sd_checkpoint_file *file, const sd_network *network, int rank, float *error);
void sd_checkpoint_close(sd_checkpoint_file **file);

/* Any dataset or attribute of a file, for tools. */
typedef enum sd_entry_kind { SD_ENTRY_F32, SD_ENTRY_F64, SD_ENTRY_I64, SD_ENTRY_U64, SD_ENTRY_TEXT } sd_entry_kind;
enum { SD_ENTRY_DIMS = 4, SD_ENTRY_PATH = 192 };
typedef struct sd_entry {
    char path[SD_ENTRY_PATH]; /* "/model/conv1.weight"; of an attribute its name, "seed" */
    sd_entry_kind kind;       /* integers of any width are read as 64 bits */
    int dims;
    size_t shape[SD_ENTRY_DIMS], elems;
    size_t elem_bytes; /* as stored; of a text: its length with the zero */
} sd_entry;

/* All datasets, then all attributes of the file, each sorted by name. Caller frees *entries. SD_ERR_DATA on a type or
 * size that no checkpoint has. */
sd_status sd_checkpoint_entries(const sd_checkpoint_file *file, sd_entry **entries, int *n);
/* The values of an entry: [elems] of float, double, int64_t or uint64_t, or a text. Caller frees *values. */
sd_status sd_checkpoint_read(const sd_checkpoint_file *file, const sd_entry *entry, void **values);
size_t sd_checkpoint_file_bytes(const sd_checkpoint_file *file);

/* All of /model, the file's digest, and as metadata "scale" (stochastic_depth.scale). The caller frees *weights, which
 * is zeros on failure. SD_ERR_DATA. */
sd_status sd_checkpoint_weights(const sd_checkpoint_file *file, const sd_checkpoint_info *info, sd_weights *weights);
/* Of a checkpoint, or of a safetensors file (sd_safetensors_read()), whichever it is by its first bytes; a checkpoint
 * passes all checks of a resume. SD_ERR_NOINPUT; SD_ERR_DATA, SD_ERR_MEMORY. */
sd_status sd_weights_read(const char *path, sd_weights *weights);

/* The checkpoints of a run: FOLDER/step-NNNNNNNN.h5, and links latest and best. */
void sd_checkpoint_path(const char *folder, uint64_t step, char *path, size_t path_bytes);
/* The steps of a folder's checkpoints, newest first. *n = 0 if the folder does not exist. Caller frees *steps. */
sd_status sd_checkpoint_list(const char *folder, uint64_t **steps, int *n);
/* Points FOLDER/link at a step's file, atomically replacing an older link. If that fails, removes the link and warns
 * once. */
void sd_checkpoint_link(const char *folder, const char *link, uint64_t step);
/* Renames the checkpoints of steps first..last from STEP.h5 to STEP.h5.aside, which no resume reads: a run that goes
 * back to an earlier step abandons them. */
sd_status sd_checkpoint_set_aside(const char *folder, uint64_t first, uint64_t last);
/* Removes all checkpoints but the newest `keep`, best_step (0: none), and multiples of keep_every (0: none). Warns once
 * if a file cannot be removed. */
void sd_checkpoint_retain(const char *folder, int keep, uint64_t keep_every, uint64_t best_step);
/* Removes the files of a killed save: STEP.h5.part, .latest.part, .best.part. Only for the holder of the run's lock. */
void sd_checkpoint_discard_parts(const char *folder);

#ifdef __cplusplus
}
#endif
#endif
