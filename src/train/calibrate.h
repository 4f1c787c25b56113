/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: measuring this machine for predictions. */
#ifndef SDTRAIN_TRAIN_CALIBRATE_H
#define SDTRAIN_TRAIN_CALIBRATE_H

#include "run.h"
#include "sdtrain/predict.h"
#include "sdtrain/train.h"

/* Times the run's network, which is changed by it: the run cannot train afterwards. Some ten seconds. Collective; the
 * figures are the mean over ranks, equal on all. */
sd_status sd_run_calibrate(sd_run *run, sd_calibration *calibration);

/* Calibrates, and prints the tables on rank 0. Collective. */
sd_status sd_run_predict(sd_run *run, const sd_forecast *forecast);

/* Seconds a byte of this processor: sent and received over TCP (loopback; 0 with a warning where there is none), and
 * read and added to another. Local. */
sd_status sd_measure_host(double *transfer_seconds_per_byte, double *add_seconds_per_byte);

#endif
