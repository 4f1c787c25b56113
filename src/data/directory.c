/* SPDX-License-Identifier: Apache-2.0 */
#include "directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/arena.h"

enum { MOST_ENTRIES = 1 << 28 };

typedef enum name_kind { NAME_OTHER, NAME_IMAGE, NAME_FOREIGN_IMAGE } name_kind;

static bool ends_in(const char *name, const char *const *endings) {
    const size_t n = strlen(name);
    for (; *endings; endings++) {
        const size_t m = strlen(*endings);
        if (n >= m && !strcasecmp(name + n - m, *endings))
            return true;
    }
    return false;
}

static name_kind kind_of(const char *name) {
    static const char *const ours[] = {".jpg", ".jpeg", ".png", NULL};
    static const char *const foreign[] = {".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", NULL};
    return ends_in(name, ours) ? NAME_IMAGE : ends_in(name, foreign) ? NAME_FOREIGN_IMAGE : NAME_OTHER;
}

static sd_status add(sd_directory_entries *entries, const char *path, const char *name, uint64_t bytes) {
    if (entries->n == MOST_ENTRIES)
        return sd_fail(SD_ERR_DATA, "%s: has more than %d entries", path, MOST_ENTRIES);
    SD_TRY(sd_grow(&entries->entry, entries->n, &entries->capacity, sizeof *entries->entry));
    char *copy;
    SD_TRY(sd_alloc(&copy, strlen(name) + 1, 1));
    strcpy(copy, name);
    entries->entry[entries->n++] = (sd_directory_entry){copy, bytes};
    return SD_OK;
}

/* A link whose target is not there, or is no path at all. */
static bool leads_nowhere(int reason) {
    return reason == ENOENT || reason == ELOOP || reason == ENOTDIR || reason == ENAMETOOLONG;
}

static sd_status add_image(const char *path, const char *name, name_kind kind, const struct stat *info,
                           sd_directory *contents) {
    if (kind == NAME_FOREIGN_IMAGE)
        return sd_fail(SD_ERR_DATA,
                       "%s/%s: is an image of a format that is not read; convert it to .png or .jpg, or take it out of "
                       "the data set",
                       path, name);
    if (!S_ISREG(info->st_mode))
        return sd_fail(SD_ERR_DATA, "%s/%s: is named as an image, but is no regular file", path, name);
    return add(&contents->images, path, name, (uint64_t)info->st_size);
}

/* One that fstatat() failed for. */
static sd_status add_unknown(const char *path, const char *name, name_kind kind, sd_directory_files files,
                             sd_directory *contents) {
    const bool strict = files != SD_DIRECTORY_CANDIDATES;
    if (kind == NAME_OTHER && (!strict || leads_nowhere(errno)))
        return SD_OK;
    return strict ? sd_fail(SD_ERR_NOINPUT, "%s/%s: %s", path, name, strerror(errno))
                  : add(&contents->images, path, name, 0);
}

static sd_status add_entry(const char *path, int fd, const struct dirent *entry, sd_directory_files files,
                           sd_directory *contents) {
    const char *name = entry->d_name;
    const name_kind kind = files == SD_DIRECTORY_FOLDERS ? NAME_OTHER : kind_of(name);
    struct stat info;
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return SD_OK;
    if (entry->d_type == DT_DIR)
        return add(&contents->folders, path, name, 0);
    if (entry->d_type == DT_REG && kind == NAME_OTHER) /* most file systems say so, which spares a look at each file */
        return SD_OK;
    if (fstatat(fd, name, &info, 0) != 0)
        return add_unknown(path, name, kind, files, contents);
    if (S_ISDIR(info.st_mode))
        return add(&contents->folders, path, name, 0);
    if (kind == NAME_OTHER)
        return SD_OK;
    return files == SD_DIRECTORY_IMAGES ? add_image(path, name, kind, &info, contents)
                                        : add(&contents->images, path, name, (uint64_t)info.st_size);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_directory_entry *)a)->name, ((const sd_directory_entry *)b)->name);
}

static void sort(sd_directory_entries *entries) {
    if (entries->n > 1)
        qsort(entries->entry, (size_t)entries->n, sizeof *entries->entry, by_name);
}

static sd_status read_open(const char *path, DIR *directory, sd_directory_files files, sd_directory *contents) {
    struct stat info;
    if (fstat(dirfd(directory), &info) != 0)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    contents->device = info.st_dev;
    contents->inode = info.st_ino;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry && errno != 0)
            return sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", path, strerror(errno));
        if (!entry)
            break;
        SD_TRY(add_entry(path, dirfd(directory), entry, files, contents));
    }
    sort(&contents->folders);
    sort(&contents->images);
    return SD_OK;
}

sd_status sd_directory_read(const char *path, sd_directory_files files, sd_directory *contents) {
    DIR *directory = opendir(path);
    if (!directory)
        return sd_fail(SD_ERR_NOINPUT, "%s: the folder cannot be opened: %s", path, strerror(errno));
    const sd_status status = read_open(path, directory, files, contents);
    closedir(directory);
    return status;
}

void sd_directory_entries_free(sd_directory_entries *entries) {
    for (int i = 0; i < entries->n; i++)
        free(entries->entry[i].name);
    free(entries->entry);
    *entries = (sd_directory_entries){0};
}

void sd_directory_free(sd_directory *contents) {
    sd_directory_entries_free(&contents->folders);
    sd_directory_entries_free(&contents->images);
}
