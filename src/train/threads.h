/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: how many threads a rank computes with. */
#ifndef SDTRAIN_TRAIN_THREADS_H
#define SDTRAIN_TRAIN_THREADS_H

#include "sdtrain/config.h"
#include "sdtrain/dist.h"

/* run.threads, else OMP_NUM_THREADS, else this rank's share of the processors that it may use; warns where threads
 * would take turns on one. Collective. */
sd_status sd_threads_choose(sd_comm *comm, const sd_config *config, int *threads);

#endif
