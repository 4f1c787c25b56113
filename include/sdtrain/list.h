/* SPDX-License-Identifier: Apache-2.0 */
/* A list of numbers in a configuration: drop rates, milestones. */
#ifndef SDTRAIN_LIST_H
#define SDTRAIN_LIST_H

enum { SD_LIST_MAX = 1024 };

typedef struct sd_list {
    int n;
    double value[SD_LIST_MAX];
} sd_list;

#endif
