/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listing.h"
#include "sdtrain/arena.h"

enum { MOST_FOLDERS = 1 << 24 };

sd_status sd_path_join(const char *folder, const char *name, char **path) {
    const size_t n = strlen(folder), bytes = n + 1 + strlen(name) + 1;
    const char *slash = n > 0 && folder[n - 1] != '/' ? "/" : "";
    *path = NULL;
    if (bytes > SD_LISTING_PATH_BYTES)
        return sd_fail(SD_ERR_DATA, "a path is too long, %d bytes are the limit: %s in %s", SD_LISTING_PATH_BYTES - 1,
                       name, folder);
    SD_TRY(sd_alloc(path, bytes, 1));
    snprintf(*path, bytes, "%s%s%s", folder, slash, name);
    return SD_OK;
}

static sd_status read_place(const sd_walk *walk, int at) {
    sd_walk_place *place = &walk->place[at];
    char *whole;
    SD_TRY(sd_path_join(walk->root, place->path, &whole));
    const sd_status status =
        sd_directory_read(whole, walk->lenient ? SD_DIRECTORY_CANDIDATES : SD_DIRECTORY_IMAGES, &place->contents);
    free(whole);
    return status;
}

/* Whether a place is one that it lies in. */
static sd_status refuse_loop(const sd_walk *walk, int at) {
    const char *root = walk->root, *slash = *root ? "/" : "";
    const sd_directory *here = &walk->place[at].contents;
    for (int above = walk->place[at].parent; above >= 0; above = walk->place[above].parent)
        if (walk->place[above].contents.device == here->device && walk->place[above].contents.inode == here->inode)
            return sd_fail(SD_ERR_DATA, "%s%s%s: a link leads back to %s, in which it lies%s", root, slash,
                           walk->place[at].path, walk->place[above].path, walk->lenient ? "" : "; remove the link");
    return SD_OK;
}

static sd_status add_place(sd_walk *walk, const char *folder, const char *name, int parent) {
    if (walk->n == MOST_FOLDERS)
        return sd_fail(SD_ERR_DATA, "%s: has more than %d folders in it; does a link lead out of it?",
                       walk->place[0].path, MOST_FOLDERS);
    SD_TRY(sd_grow(&walk->place, walk->n, &walk->capacity, sizeof *walk->place));
    sd_walk_place added = {.parent = parent};
    SD_TRY(sd_path_join(folder, name, &added.path));
    walk->place[walk->n++] = added;
    return SD_OK;
}

/* What a lenient walk passes by: said, and no failure. */
static void pass_by(sd_walk *walk, int at, bool is_missed) {
    sd_log_warn("%s", sd_error_message());
    sd_error_clear();
    sd_directory_free(&walk->place[at].contents);
    walk->n_missed += is_missed;
}

static sd_status read_new_place(sd_walk *walk, int at) {
    sd_status status = read_place(walk, at);
    const bool is_read = status == SD_OK;
    if (status == SD_OK)
        status = refuse_loop(walk, at);
    if (status == SD_OK || status == SD_ERR_MEMORY || !walk->lenient)
        return status;
    pass_by(walk, at, !is_read);
    return SD_OK;
}

static sd_status walk_place(sd_walk *walk, int at) {
    SD_TRY(read_new_place(walk, at));
    sd_directory_entries folders = walk->place[at].contents.folders; /* places move as they become more */
    walk->place[at].contents.folders = (sd_directory_entries){0};
    sd_status status = SD_OK;
    for (int i = 0; i < folders.n && status == SD_OK; i++)
        status = add_place(walk, walk->place[at].path, folders.entry[i].name, at);
    sd_directory_entries_free(&folders);
    return status;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const sd_walk_place *)a)->path, ((const sd_walk_place *)b)->path);
}

sd_status sd_walk_read(sd_walk *walk, const char *folder, const char *name) {
    SD_TRY(add_place(walk, folder, name, -1));
    for (int at = 0; at < walk->n; at++)
        SD_TRY(walk_place(walk, at));
    /* torchvision sorts what os.walk() yields by whole paths, so "a b" comes before "a/c". */
    qsort(walk->place, (size_t)walk->n, sizeof *walk->place, by_path);
    return SD_OK;
}

void sd_walk_free(sd_walk *walk) {
    for (int i = 0; i < walk->n; i++) {
        free(walk->place[i].path);
        sd_directory_free(&walk->place[i].contents);
    }
    free(walk->place);
    *walk = (sd_walk){0};
}
