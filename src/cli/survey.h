/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: figures of a checkpoint, for text (inspect.c) and JSON (inspect_json.c). */
#ifndef SDTRAIN_CLI_SURVEY_H
#define SDTRAIN_CLI_SURVEY_H

#include "loaded.h"

/* Over all values of a tensor, in double. */
typedef struct sd_moments {
    double min, max, mean, l2;
} sd_moments;
sd_status sd_moments_of(const sd_loaded *loaded, const sd_entry *entry, sd_moments *moments);

/* Top-level groups of the file, such as "/model"; without attributes. */
enum { SD_MAX_GROUPS = 16 };
typedef struct sd_group {
    char name[SD_ENTRY_PATH];
    int datasets;
    size_t bytes; /* of their values */
} sd_group;
/* Returns the number of groups, at most SD_MAX_GROUPS; further ones are left out. */
int sd_groups_of(const sd_loaded *loaded, sd_group groups[SD_MAX_GROUPS]);

/* The drop rate of each unit of the network. Caller frees. */
sd_status sd_rates_of(const sd_loaded *loaded, double **rate);

/* The keys of stochastic_depth that sdtrain inspect shows. */
extern const char *const sd_drop_keys[];
extern const int sd_n_drop_keys;

/* Prints the content as one JSON object. */
sd_status sd_inspect_json(const sd_loaded *loaded);

#endif
