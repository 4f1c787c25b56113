/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: what there is to say about a checkpoint, for people (inspect.c) and programs (inspect_json.c)
 * alike. */
#ifndef SDTRAIN_CLI_SURVEY_H
#define SDTRAIN_CLI_SURVEY_H

#include "loaded.h"

/* Over all values of a tensor, in double. */
typedef struct sd_moments {
    double min, max, mean, l2;
} sd_moments;
sd_status sd_moments_of(const sd_loaded *loaded, const sd_entry *entry, sd_moments *moments);

/* The top-level names of the file: "/model"; attributes are not counted. */
enum { SD_MAX_GROUPS = 16 };
typedef struct sd_group {
    char name[SD_ENTRY_PATH];
    int datasets;
    size_t bytes; /* of their values */
} sd_group;
/* Returns how many there are; those beyond SD_MAX_GROUPS are left out. */
int sd_groups_of(const sd_loaded *loaded, sd_group groups[SD_MAX_GROUPS]);

/* The drop rate of each unit of the network. Caller frees. */
sd_status sd_rates_of(const sd_loaded *loaded, double **rate);

/* stochastic_depth.* of the configuration, as text: what sdtrain inspect shows of it. */
extern const char *const sd_drop_keys[];
extern const int sd_n_drop_keys;

/* Prints all of it as one JSON object. */
sd_status sd_inspect_json(const sd_loaded *loaded);

#endif
