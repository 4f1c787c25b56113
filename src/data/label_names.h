/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the classes that the labels of a table name.
 *
 * Labels that are all whole numbers are in the order of their values, others in that of their bytes. A list of names, a
 * line a class (classes.txt), wins: labels are names in it, or the numbers of its lines, from 0 or from 1. */
#ifndef SDTRAIN_DATA_LABEL_NAMES_H
#define SDTRAIN_DATA_LABEL_NAMES_H

#include "table.h"

typedef struct sd_label_name {
    sd_cell label; /* as a table has it */
    int class;
} sd_label_name;

typedef struct sd_label_names {
    int n, classes;
    bool is_listed;        /* of a list */
    sd_label_name *sorted; /* [n], by the bytes of their labels */
    const char **name;     /* [classes], what each class is called; not terminated */
    size_t *name_bytes;
} sd_label_names;

/* Whether a file is such a list: path: for messages. SD_ERR_DATA with file and line: bytes that are no text, an empty
 * line, a name that is there twice; no line at all. SD_ERR_MEMORY. */
sd_status sd_label_list_check(const char *path, const char *list, size_t bytes);

/* labels: [n], of a training table; list: content of the list of names, checked, and its length, or NULL. Both must
 * outlive the names. Returns the first label that is none of the list in *unknown, with SD_ERR_DATA and no message of
 * its own, else -1. SD_ERR_MEMORY. Free in any case. */
sd_status sd_label_names_make(size_t n, const sd_cell *labels, const char *list, size_t list_bytes,
                              sd_label_names *names, int64_t *unknown);
void sd_label_names_free(sd_label_names *names);

/* The class of a label, -1: none. */
int sd_label_class(const sd_label_names *names, const sd_cell *label);

#endif
