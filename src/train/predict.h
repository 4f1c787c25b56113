/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: a forecast for a run. */
#ifndef SDTRAIN_TRAIN_PREDICT_H
#define SDTRAIN_TRAIN_PREDICT_H

#include "run.h"
#include "sdtrain/train.h"

/* Calibrates on the run's network, and prints the tables on rank 0. The run cannot train afterwards. Collective. */
sd_status sd_run_predict(sd_run *run, const sd_forecast *forecast);

#endif
