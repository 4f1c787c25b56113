/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: what is trained, and with what: the network, its loss, the sums over ranks, the optimizer, and the
 * decisions of stochastic depth. */
#ifndef SDTRAIN_TRAIN_TRAINER_H
#define SDTRAIN_TRAIN_TRAINER_H

#include "pipeline.h"
#include "sdtrain/drop.h"
#include "sdtrain/loss.h"
#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "session.h"

typedef struct sd_trainer {
    sd_network *network;
    sd_loss *loss;
    sd_optimizer *optimizer;
    sd_reducer *reducer;
    sd_drop_spec drop;
    sd_drop_plan plan;            /* of the step under way */
    sd_drop_plan evaluation_plan; /* of an evaluation: all branches are kept */
    sd_drop_part part;            /* of the images of the pass under way; not with scope = global */
    double *sums;                 /* [shards_here][SD_MAX_SUMS] of numbers that are summed over shards */
} sd_trainer;

/* Whether the configuration describes a network, with its drop rates, whose batch norms get enough images; the files of
 * the data are not looked at. *min_shard_images: how many a shard needs. Local. SD_ERR_CONFIG names the key. */
sd_status sd_trainer_check(const sd_session *session, sd_sample_spec samples, uint64_t *min_shard_images);

/* Builds all of it for the pipeline's batches; parameters have no values yet. Local. Close in any case. */
sd_status sd_trainer_open(sd_trainer *trainer, const sd_session *session, const sd_pipeline *pipeline);
void sd_trainer_close(sd_trainer *trainer);

/* Initial parameters, drawn with run.seed, the same to the bit on all ranks. Collective. */
sd_status sd_trainer_initialise(sd_trainer *trainer, const sd_session *session);

/* Of what a checkpoint of so many ranks holds. Local. */
size_t sd_trainer_state_bytes(const sd_trainer *trainer, int ranks);

#endif
