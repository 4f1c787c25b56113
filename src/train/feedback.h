/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: the error feedback of ranks whose gradients travel as bf16 (dist/wire.h), into checkpoints and out
 * of them. */
#ifndef SDTRAIN_TRAIN_FEEDBACK_H
#define SDTRAIN_TRAIN_FEEDBACK_H

#include "sdtrain/checkpoint.h"
#include "session.h"
#include "trainer.h"

/* Every rank's (sd_reducer_error()) into all, [ranks][buffer] on rank 0. Nothing to do with communication.wire = fp32.
 * Collective. */
sd_status sd_feedback_collect(const sd_session *session, const sd_trainer *trainer, float *all);

/* Gives each rank its own out of a file of so many ranks, or, on another number of ranks, rank 0 the sum of all.
 * file: on rank 0. Collective. */
sd_status sd_feedback_restore(const sd_session *session, const sd_trainer *trainer, sd_checkpoint_file *file,
                              int ranks);

#endif
