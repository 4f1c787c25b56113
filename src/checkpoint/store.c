/* SPDX-License-Identifier: Apache-2.0 */
/* Files and links in a run's folder of checkpoints. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/arena.h"
#include "sdtrain/checkpoint.h"
#include "sdtrain/file.h"

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

/* Whether name is that of a step's file followed by suffix. */
static bool is_named(const char *name, const char *suffix, uint64_t *step) {
    char expected[64];
    if (sscanf(name, "step-%" SCNu64, step) != 1)
        return false;
    file_name(*step, expected, sizeof expected);
    const size_t bytes = strlen(expected);
    return !strncmp(name, expected, bytes) && !strcmp(name + bytes, suffix);
}

/* The next entry of a folder; NULL at its end. Sets *status if the folder cannot be read to its end. */
static struct dirent *next_entry(DIR *directory, const char *folder, sd_status *status) {
    errno = 0;
    struct dirent *entry = readdir(directory);
    if (!entry && errno != 0)
        *status = sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", folder, strerror(errno));
    return entry;
}

sd_status sd_checkpoint_list(const char *folder, uint64_t **steps, int *n) {
    int capacity = 0;
    *steps = NULL;
    *n = 0;
    DIR *directory = opendir(folder);
    if (!directory)
        return errno == ENOENT || errno == ENOTDIR ? SD_OK : sd_fail(SD_ERR_NOINPUT, "%s: %s", folder, strerror(errno));
    sd_status status = SD_OK;
    for (struct dirent *entry; status == SD_OK && (entry = next_entry(directory, folder, &status));) {
        uint64_t step;
        if (!is_named(entry->d_name, "", &step))
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

/* Removes a link that cannot be replaced: no link is better than one to another step. Warns. */
static void do_without(const char *path, const char *name, const char *reason) {
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
        unlink(path);
    sd_log_warn_once(
        "%s: cannot be made a link to %s: %s; checkpoints are whole without it: name the file itself where "
        "one is asked for",
        path, name, reason);
    sd_error_clear();
}

void sd_checkpoint_link(const char *folder, const char *link, uint64_t step) {
    char name[64], present[64], path[PATH_BYTES], temporary[PATH_BYTES];
    file_name(step, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", folder, link);
    const ssize_t bytes = readlink(path, present, sizeof present); /* skip the write if the link is right */
    if (bytes == (ssize_t)strlen(name) && !memcmp(present, name, (size_t)bytes))
        return;
    snprintf(temporary, sizeof temporary, "%s/.%s.part", folder, link);
    unlink(temporary);
    if (symlink(name, temporary) != 0) {
        do_without(path, name, strerror(errno));
    } else if (sd_file_rename(temporary, path) != SD_OK) {
        unlink(temporary);
        do_without(path, name, sd_error_message());
    }
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
        status = sd_file_rename(path, aside);
        moved++;
    }
    free(steps);
    if (status == SD_OK && moved > 0)
        sd_log_info("%s: %d checkpoint%s of steps that this run goes back before set aside as *.h5.aside", folder,
                    moved, moved == 1 ? "" : "s");
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
        if (!for_ever && unlink(path) != 0 && errno != ENOENT)
            sd_log_warn_once("%s: an old checkpoint cannot be removed: %s; such files are left", path, strerror(errno));
    }
    free(steps);
}

void sd_checkpoint_discard_parts(const char *folder) {
    static const char *const links[] = {".latest.part", ".best.part"};
    DIR *directory = opendir(folder);
    if (!directory)
        return;
    sd_status status = SD_OK;
    for (struct dirent *entry; (entry = next_entry(directory, folder, &status));) {
        uint64_t step;
        bool ours = is_named(entry->d_name, ".part", &step);
        for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
            ours = ours || !strcmp(entry->d_name, links[i]);
        if (ours)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
}
