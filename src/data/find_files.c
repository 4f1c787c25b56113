/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of image files without classes, in the order in which they are named. */
#include <string.h>
#include <sys/stat.h>

#include "listing.h"
#include "walk.h"

/* Said, and no failure. */
static void miss(uint64_t *n_missed) {
    sd_log_warn("%s", sd_error_message());
    sd_error_clear();
    ++*n_missed;
}

static sd_status add_file(sd_listing_builder *builder, const char *path) {
    char folder[SD_LISTING_PATH_BYTES];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    memcpy(folder, path, (size_t)(name - path));
    folder[name - path] = '\0';
    SD_TRY(sd_listing_add_folder(builder, folder, 0));
    return sd_listing_add_image(builder, name, 0);
}

static sd_status add_walked(sd_listing_builder *builder, const sd_walk *walk, const char *path, uint64_t *n_missed) {
    const size_t before = builder->images.n;
    *n_missed += walk->n_missed;
    for (int at = 0; at < walk->n; at++)
        SD_TRY(sd_listing_add_images(builder, walk->place[at].path, &walk->place[at].contents.images, 0));
    if (builder->images.n == before && walk->n_missed == 0) {
        (void)sd_fail(SD_ERR_NOINPUT, "%s: has no image in it, which is a file .jpg, .jpeg or .png", path);
        miss(n_missed);
    }
    return SD_OK;
}

static sd_status add_folder(sd_listing_builder *builder, const char *path, uint64_t *n_missed) {
    sd_walk walk = {.root = "", .lenient = true};
    sd_status status = sd_walk_read(&walk, "", path);
    if (status == SD_OK)
        status = add_walked(builder, &walk, path, n_missed);
    sd_walk_free(&walk);
    return status;
}

static sd_status add_input(sd_listing_builder *builder, const char *path, uint64_t *n_missed) {
    struct stat info;
    if (strlen(path) + 3 > SD_LISTING_PATH_BYTES) { /* as a builder counts */
        (void)sd_fail(SD_ERR_NOINPUT, "a path is too long, %d bytes are the limit: %.80s...", SD_LISTING_PATH_BYTES - 1,
                      path);
        miss(n_missed);
        return SD_OK;
    }
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? add_folder(builder, path, n_missed)
                                                           : add_file(builder, path);
}

static sd_status add_all(sd_listing_builder *builder, int n, const char *const *inputs, uint64_t *n_missed,
                         sd_listing **listing) {
    SD_TRY(sd_listing_begin(builder, ""));
    SD_TRY(sd_listing_add_class(builder, ""));
    sd_listing_begin_test(builder);
    for (int i = 0; i < n; i++)
        SD_TRY(add_input(builder, inputs[i], n_missed));
    return sd_listing_finish(builder, listing);
}

sd_status sd_data_find_files(int n, const char *const *inputs, uint64_t *n_missed, sd_listing **listing) {
    sd_listing_builder builder = {0};
    *listing = NULL;
    *n_missed = 0;
    const sd_status status = add_all(&builder, n, inputs, n_missed, listing);
    sd_listing_abandon(&builder);
    return status;
}
