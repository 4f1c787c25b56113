/* The folder of a run's checkpoints. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdtrain/arena.h"
#include "sdtrain/checkpoint.h"

enum { PATH_BYTES = 4096 };

static void file_name(uint64_t step, char *name, size_t name_bytes) {
    snprintf(name, name_bytes, "step-%08" PRIu64 ".h5", step);
}

void sd_checkpoint_path(const char *folder, uint64_t step, char *path, size_t path_bytes) {
    char name[64];
    file_name(step, name, sizeof name);
    snprintf(path, path_bytes, "%s/%s", folder, name);
}

static int newest_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

sd_status sd_checkpoint_list(const char *folder, uint64_t **steps, int *n) {
    int capacity = 0;
    *steps = NULL;
    *n = 0;
    DIR *directory = opendir(folder);
    if (!directory)
        return errno == ENOENT || errno == ENOTDIR ? SD_OK : sd_fail(SD_ERR_NOINPUT, "%s: %s", folder, strerror(errno));
    sd_status status = SD_OK;
    for (struct dirent *entry; status == SD_OK && (entry = readdir(directory));) {
        uint64_t step;
        char expected[64];
        if (sscanf(entry->d_name, "step-%" SCNu64 ".h5", &step) != 1)
            continue;
        file_name(step, expected, sizeof expected);
        if (strcmp(entry->d_name, expected) != 0)
            continue;
        status = sd_grow(steps, *n, &capacity, sizeof **steps);
        if (status == SD_OK)
            (*steps)[(*n)++] = step;
    }
    closedir(directory);
    if (*n > 0)
        qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
    return status;
}

sd_status sd_checkpoint_link(const char *folder, const char *link, uint64_t step) {
    char name[64], present[64], path[PATH_BYTES], temporary[PATH_BYTES];
    file_name(step, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", folder, link);
    const ssize_t bytes = readlink(path, present, sizeof present); /* where nothing changes, reading is enough */
    if (bytes == (ssize_t)strlen(name) && !memcmp(present, name, (size_t)bytes))
        return SD_OK;
    snprintf(temporary, sizeof temporary, "%s/.%s.part", folder, link);
    unlink(temporary);
    if (symlink(name, temporary) != 0 || rename(temporary, path) != 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be made to point at %s: %s", path, name, strerror(errno));
    return SD_OK;
}

sd_status sd_checkpoint_set_aside(const char *folder, uint64_t first, uint64_t last) {
    uint64_t *steps;
    int n, moved = 0;
    sd_status status = sd_checkpoint_list(folder, &steps, &n);
    for (int i = 0; status == SD_OK && i < n; i++) {
        char path[PATH_BYTES], aside[PATH_BYTES + 8];
        if (steps[i] < first || steps[i] > last)
            continue;
        sd_checkpoint_path(folder, steps[i], path, sizeof path);
        snprintf(aside, sizeof aside, "%s.aside", path);
        if (rename(path, aside) != 0)
            status = sd_fail(SD_ERR_IO, "%s: cannot be renamed: %s", path, strerror(errno));
        moved++;
    }
    free(steps);
    if (status == SD_OK && moved > 0)
        sd_log_info("%s: %d checkpoint%s of steps that this run goes back before set aside as *.h5.aside", folder, moved,
                    moved == 1 ? "" : "s");
    return status;
}

void sd_checkpoint_retain(const char *folder, int keep, uint64_t keep_every, uint64_t best_step) {
    uint64_t *steps;
    int n;
    if (sd_checkpoint_list(folder, &steps, &n) != SD_OK || !steps)
        return;
    for (int i = keep; i < n; i++) {
        char path[PATH_BYTES];
        sd_checkpoint_path(folder, steps[i], path, sizeof path);
        const bool for_ever = steps[i] == best_step || (keep_every > 0 && steps[i] % keep_every == 0);
        if (!for_ever && unlink(path) != 0)
            sd_log_warn("%s: an old checkpoint cannot be removed: %s", path, strerror(errno));
    }
    free(steps);
}
