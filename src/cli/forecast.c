/* SPDX-License-Identifier: Apache-2.0 */
#include "forecast.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void sd_forecast_init(sd_forecast *forecast) { *forecast = (sd_forecast){.link_gbit = 10, .latency_us = 30}; }

bool sd_forecast_is_option(const char *word) {
    return !strcmp(word, "--ranks") || !strcmp(word, "--link-gbit") || !strcmp(word, "--latency-us");
}

/* Parses "2,16,4096". Digits and commas only: strtol() would also accept blanks and signs. */
static sd_status set_ranks(sd_forecast *forecast, const char *value) {
    const char *at = value;
    forecast->n = 0;
    for (;;) {
        char *end;
        const long ranks = isdigit((unsigned char)*at) ? strtol(at, &end, 10) : 0;
        if (ranks < 1 || ranks > SD_FORECAST_MAX_RANKS || (*end != '\0' && *end != ','))
            return sd_fail(SD_ERR_USAGE, "--ranks %s: numbers of ranks from 1 to %d are expected, separated by commas",
                           value, SD_FORECAST_MAX_RANKS);
        if (forecast->n == SD_FORECAST_RANKS)
            return sd_fail(SD_ERR_USAGE, "--ranks: at most %d numbers are expected", SD_FORECAST_RANKS);
        forecast->ranks[forecast->n++] = (int)ranks;
        if (*end == '\0')
            return SD_OK;
        at = end + 1;
    }
}

static sd_status set_number(const char *option, const char *value, double low, double high, double *number) {
    char *end;
    *number = strtod(value, &end);
    if (!isdigit((unsigned char)*value) || *end != '\0' || !(*number >= low && *number <= high))
        return sd_fail(SD_ERR_USAGE, "%s %s: a number from %g to %g is expected", option, value, low, high);
    return SD_OK;
}

sd_status sd_forecast_set(sd_forecast *forecast, const char *option, const char *value) {
    if (!strcmp(option, "--ranks"))
        return set_ranks(forecast, value);
    if (!strcmp(option, "--link-gbit"))
        return set_number(option, value, 0.001, 10000, &forecast->link_gbit);
    return set_number(option, value, 0, 1e6, &forecast->latency_us);
}
