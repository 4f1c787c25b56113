/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: the options of a forecast, --ranks, --link-gbit and --latency-us. */
#ifndef SDTRAIN_CLI_FORECAST_H
#define SDTRAIN_CLI_FORECAST_H

#include "sdtrain/train.h"

/* Sets the defaults: no ranks; 10 Gbit/s and 30 microseconds, typical of Ethernet. */
void sd_forecast_init(sd_forecast *forecast);

/* Whether a word is one of the options. */
bool sd_forecast_is_option(const char *word);

/* Sets the option's value. SD_ERR_USAGE names the option and the allowed values. */
sd_status sd_forecast_set(sd_forecast *forecast, const char *option, const char *value);

#endif
