/* SPDX-License-Identifier: Apache-2.0 */
/* Description of a run before it trains: schedule.csv, and the text of --check.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_DESCRIPTION_H
#define SDTRAIN_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/data.h"
#include "sdtrain/drop.h"
#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* schedule.csv: branch,name,depth,drop_rate,parameters,flops. */
sd_status sd_schedule_write(const char *folder, const sd_network *network, const sd_drop_spec *drop);

/* The text of --check. */
typedef struct sd_description {
    const char *model, *resume; /* model.name, checkpoint.resume */
    uint64_t epochs, batch_size;
    int shards; /* per batch, with reproducible; 0: one per rank */
    bool skip_dropped;
    size_t wire_value_bytes; /* per gradient value on the wire */
    const sd_network *network;
    const sd_drop_spec *drop;
    const char *isa, *folder;
    const char *start; /* the state that training would begin with */
    int ranks, threads;
    sd_sample_spec samples;
    sd_text_lengths lengths; /* of texts */
    double touched_rows;     /* of the table of embeddings by a step, on average */
    uint64_t train_images, validation_images, steps_per_epoch, total_steps;
    uint64_t rank_images, shard_images; /* images of the largest rank share of a batch; of a shard */
    /* Memory of a rank: parameters, gradients, optimizer state; activations; images; the program itself; the checkpoint
     * under way, on the rank that writes it. */
    size_t state_bytes, activation_bytes, data_bytes, program_bytes, checkpoint_bytes;
} sd_description;
/* SD_ERR_MEMORY. */
sd_status sd_description_print(FILE *to, const sd_description *description);

#ifdef __cplusplus
}
#endif
#endif
