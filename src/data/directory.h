/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: what lies in a folder of the disk, as os.walk(followlinks=True) of Python sees it. */
#ifndef SDTRAIN_DATA_DIRECTORY_H
#define SDTRAIN_DATA_DIRECTORY_H

#include <stdint.h>
#include <sys/types.h>

#include "sdtrain/status.h"

typedef struct sd_directory_entry {
    char *name;
    uint64_t bytes; /* of a file */
} sd_directory_entry;

typedef struct sd_directory_entries {
    int n, capacity;
    sd_directory_entry *entry;
} sd_directory_entries;

/* Begins as {0}. */
typedef struct sd_directory {
    sd_directory_entries folders, images; /* each by name, sorted by bytes */
    dev_t device;
    ino_t inode; /* of the folder itself */
} sd_directory;

/* What is looked for beside folders. Names tell: .jpg, .jpeg and .png are images; upper and lower case are one. */
typedef enum sd_directory_files {
    SD_DIRECTORY_FOLDERS,    /* nothing */
    SD_DIRECTORY_IMAGES,     /* images; what is named as one must be one that can be read */
    SD_DIRECTORY_CANDIDATES, /* whatever is named as an image, also of formats that are not read, and is no folder */
} sd_directory_files;

/* Reads a folder; what links lead to is what is there. Links that lead nowhere are passed by, unless their name is an
 * image's.
 *
 * Local. SD_ERR_NOINPUT: the folder cannot be read, or with SD_DIRECTORY_IMAGES an image in it. SD_ERR_DATA, with
 * SD_DIRECTORY_IMAGES: an image of another format, by its name, or one that is no regular file. SD_ERR_MEMORY. Freed by
 * the caller, also on failure. */
sd_status sd_directory_read(const char *path, sd_directory_files files, sd_directory *contents);

void sd_directory_entries_free(sd_directory_entries *entries);
void sd_directory_free(sd_directory *contents);

#endif
