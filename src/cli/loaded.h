/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: a checkpoint as training would load it, into the network and optimizer that its own configuration
 * describes. */
#ifndef SDTRAIN_CLI_LOADED_H
#define SDTRAIN_CLI_LOADED_H

#include "sdtrain/checkpoint.h"
#include "sdtrain/config.h"
#include "sdtrain/data.h"
#include "sdtrain/kernels.h"
#include "sdtrain/nn.h"
#include "sdtrain/optim.h"

typedef struct sd_loaded {
    const char *path;
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    const sd_kernels *kernels; /* of SD_ISA */
    sd_network *network;
    sd_network *whole;   /* after sd_loaded_prune(): the network in the file, */
    unsigned char *keep; /* and its units that are kept; else NULL */
    sd_optimizer *optimizer;
    sd_config config;
    sd_sample_spec samples;
    sd_entry *entries;
    int n_entries;
} sd_loaded;

/* SD_ERR_NOINPUT; SD_ERR_DATA if a resume would refuse it. The caller calls sd_loaded_close() in any case. */
sd_status sd_loaded_open(const char *path, sd_loaded *loaded);
/* Copies the file's tensors into network and optimizer, as a resume does. SD_ERR_DATA. */
sd_status sd_loaded_apply(sd_loaded *loaded);

/* Instead of sd_loaded_open(), to evaluate: the file with its configuration, without network, optimizer and entries;
 * then the network with the file's tensors, for up to max_images images a pass, after which the file is closed. Errors
 * as above. */
sd_status sd_loaded_open_file(const char *path, sd_loaded *loaded);
sd_status sd_loaded_open_network(sd_loaded *loaded, int max_images);
/* Bytes that a network for so many images a pass takes beside its values and gradients. SD_ERR_DATA if /config
 * describes none. */
sd_status sd_loaded_activation_bytes(const sd_loaded *loaded, int max_images, size_t *bytes);

/* Opens a file, copies its tensors, and leaves it to use(); closes it in any case. */
sd_status sd_loaded_use(const char *path, sd_status (*use)(sd_loaded *loaded, void *context), void *context);

/* Makes what was loaded a network of the blocks that a rule keeps (sd_model_keep(); random: by the run's seed), with
 * its optimizer state, and a configuration that describes it: model.layers, the rates of what is left, and no
 * model.freeze if its patterns would mean others, of which a warning tells. file and entries stay as they are.
 * SD_ERR_USAGE: it is no rule, or nothing is left. */
sd_status sd_loaded_prune(sd_loaded *loaded, const char *rule);

void sd_loaded_close(sd_loaded *loaded);

/* Whether an entry lies in a group, such as "/model". */
bool sd_entry_is_in(const sd_entry *entry, const char *group);
/* "[64, 3, 3, 3]"; "" for a single value. */
const char *sd_entry_shape(const sd_entry *entry, char text[96]);
/* The indices of value number i: "[17, 0, 2, 1]"; "" for a single value. */
const char *sd_entry_place(const sd_entry *entry, size_t i, char text[96]);
/* Value number i as a double; NAN for text. */
double sd_entry_number(const sd_entry *entry, const void *values, size_t i);
/* "float32", "int64", ...: the type as stored. */
const char *sd_entry_type(const sd_entry *entry, char text[16]);

#endif
