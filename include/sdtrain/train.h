/* SPDX-License-Identifier: Apache-2.0 */
/* A run: everything bound together. */
#ifndef SDTRAIN_TRAIN_H
#define SDTRAIN_TRAIN_H

#include "sdtrain/config.h"
#include "sdtrain/dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One at a time in a process: signals, watchdog and threads are the process's. */

/* Trains as configured, from the start or from a checkpoint, and writes OUTPUT/NAME/. Collective; config (checked) must
 * be equal on all ranks. SD_STOPPED if a signal ended it and a checkpoint was written.
 *
 * job: what repeated starts of one command have in common, for supervisors and batch systems, or NULL. The first start
 * of a job does what checkpoint.resume says (never, auto, a file); the folder then is the job's, as summary.json says,
 * and its later starts go on with what it has written there, as with auto. A job whose training diverged is refused
 * (SD_ERR_CONFIG): it would diverge again. */
sd_status sd_train(sd_comm *comm, const sd_config *config, const char *job);

/* More ranks than there are: how long a step takes with each of these numbers of ranks (n = 0: nobody asks), on links
 * of so many gigabits a second and so many microseconds. */
enum { SD_FORECAST_RANKS = 64, SD_FORECAST_MAX_RANKS = 4096 };
typedef struct sd_forecast {
    int n, ranks[SD_FORECAST_RANKS];
    double link_gbit, latency_us;
} sd_forecast;

/* Prints what sd_train() would do, and a forecast, on rank 0, and writes nothing. Fails as sd_train() would before its
 * first step, where that
 * can be known: a resume that is refused, a folder that cannot be written to; but not because the run is under way at
 * this moment. With a forecast it trains some seconds on made-up images, to time them. Collective. */
sd_status sd_train_check(sd_comm *comm, const sd_config *config, const char *job, const sd_forecast *forecast);

/* Scores a checkpoint on the validation images and prints one line on rank 0: evaluate loss=L top1=A top5=B images=N.
 * Its normalisation and stochastic depth are the checkpoint's. keep: rule of the blocks that are computed, with which
 * the line ends in kept=0,2,4 (sd_model_keep()); NULL: all. Collective. */
sd_status sd_train_evaluate(sd_comm *comm, const sd_config *config, const char *checkpoint, const char *keep);

/* Scores it at every depth (up to 16 of them), every other block kept, prints a table on rank 0, and writes it to
 * sweep.csv in the folder of the run that the checkpoint is of. Collective. */
sd_status sd_train_sweep(sd_comm *comm, const sd_config *config, const char *checkpoint);

#ifdef __cplusplus
}
#endif
#endif
