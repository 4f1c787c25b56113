/* SPDX-License-Identifier: Apache-2.0 */
/* A run described before it trains: schedule.csv, and the text of --check.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_DESCRIPTION_H
#define SDTRAIN_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/drop.h"
#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* schedule.csv: branch,name,depth,drop_rate,parameters,flops. */
sd_status sd_schedule_write(const char *folder, const sd_network *network, const sd_drop_spec *drop);

/* What --check prints of a run. */
typedef struct sd_description {
    const char *model, *resume; /* model.name, checkpoint.resume */
    uint64_t epochs, batch_size;
    int shards; /* of a batch, with reproducible; 0: one a rank */
    bool skip_dropped;
    size_t wire_value_bytes; /* of a gradient value that travels */
    const sd_network *network;
    const sd_drop_spec *drop;
    const char *isa, *folder;
    const char *start; /* where training would begin */
    int ranks, threads, image_size;
    uint64_t train_images, validation_images, steps_per_epoch, total_steps;
    uint64_t rank_images, shard_images; /* the largest share of a batch, and what of it is computed together */
    /* A rank: parameters, gradients, optimizer; activations; images; the program before it took any of these; and what
     * the rank that writes a checkpoint needs for it. */
    size_t state_bytes, activation_bytes, data_bytes, program_bytes, checkpoint_bytes;
} sd_description;
/* SD_ERR_MEMORY. */
sd_status sd_description_print(FILE *to, const sd_description *description);

#ifdef __cplusplus
}
#endif
#endif
