/* SPDX-License-Identifier: Apache-2.0 */
/* Private to predict/: what reductions cost a processor, whatever the network. */
#ifndef SDTRAIN_PREDICT_HOST_H
#define SDTRAIN_PREDICT_HOST_H

#include "sdtrain/status.h"

/* Seconds a byte of this processor: sent and received over TCP (loopback; 0 with a warning where there is none), and
 * read and added to another, as floats. Local; some tenths of a second. SD_ERR_MEMORY. */
sd_status sd_measure_host(double *transfer_seconds_per_byte, double *add_seconds_per_byte);

#endif
