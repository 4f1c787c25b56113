/* SPDX-License-Identifier: Apache-2.0 */
/* A network small enough to be saved and loaded thousands of times a minute, and its checkpoint, made by the library
 * itself. */
#ifndef SDTRAIN_TESTS_FUZZ_TINY_H
#define SDTRAIN_TESTS_FUZZ_TINY_H

#include "sdtrain/checkpoint.h"
#include "sdtrain/config.h"

enum { TINY_PHASES = 2 };

typedef struct tiny_run {
    sd_network *network;
    sd_optimizer *optimizer;
} tiny_run;

/* A run of its own, its values and optimizer state filled with numbers that depend on `fill`. */
tiny_run tiny_new(uint32_t fill);
/* The file of a checkpoint of it, sealed. Caller frees. */
unsigned char *tiny_checkpoint(tiny_run *run, size_t *n);

/* What a resume does with a file: opens and describes it, compares nothing, copies it into the run. Caller frees info
 * in any case. */
sd_status tiny_load(const char *path, tiny_run *run, sd_checkpoint_info *info);

/* A hash of all that a load writes into a run. */
uint64_t tiny_hash(tiny_run *run);

#endif
