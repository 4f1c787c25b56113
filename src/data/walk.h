/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: a folder with all folders in it, at any depth, links followed. */
#ifndef SDTRAIN_DATA_WALK_H
#define SDTRAIN_DATA_WALK_H

#include <stdbool.h>

#include "directory.h"

typedef struct sd_walk_place {
    char *path;            /* from the root */
    int parent;            /* among places, while they are found; -1: the first */
    sd_directory contents; /* its images; the folders are places themselves */
} sd_walk_place;

/* Begins as {0}. */
typedef struct sd_walk {
    const char *root; /* what paths begin at; not NULL */
    bool lenient;
    sd_walk_place *place;
    int n, capacity;
    uint64_t n_missed; /* folders that a lenient walk could not read */
} sd_walk;

/* FOLDER/NAME, or NAME if folder is empty. Caller frees. SD_ERR_DATA: it is longer than a listing takes. */
sd_status sd_path_join(const char *folder, const char *name, char **path);

/* Walks the folder `name` in `folder`, which is a path from the root. Places are sorted by path, by bytes.
 *
 * strict: images as of SD_DIRECTORY_IMAGES; fails as sd_directory_read() does, and with SD_ERR_DATA where a link leads
 * back to a folder in which it lies. lenient: images as of SD_DIRECTORY_CANDIDATES; goes on, and a warning names each
 * folder that cannot be read (n_missed) and each such link, which is not followed. SD_ERR_MEMORY; SD_ERR_DATA beyond
 * 2^24 folders. */
sd_status sd_walk_read(sd_walk *walk, const char *folder, const char *name);
void sd_walk_free(sd_walk *walk);

#endif
