/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "directory.h"
#include "listing.h"
#include "natural_order.h"
#include "walk.h"

enum { SHOWN_BYTES = 200 };

/* Of folders, the first that is there is taken. */
static const char *const train_names[] = {"train", "training", NULL};
static const char *const test_names[] = {"val", "valid", "validation", "eval", "evaluation", "test", NULL};

typedef struct scan {
    const char *root;
    sd_listing_builder builder;
    sd_directory top;                    /* of the root */
    sd_directory train, test;            /* of the folders of a split, if there are any */
    const char *train_name;              /* NULL: the root holds the classes */
    const char *test_name;               /* NULL: no test images */
    const sd_directory_entries *classes; /* top's or train's folders */
} scan;

/* A name for a warning: a line, whatever is in it. Returns text. */
static const char *show(const char *name, char text[SHOWN_BYTES]) {
    size_t i = 0;
    for (; name[i] && i < SHOWN_BYTES - 1; i++)
        text[i] = (char)(iscntrl((unsigned char)name[i]) ? '?' : name[i]);
    text[i] = '\0';
    return text;
}

/* Of the folders in path, which is from the root. */
static sd_status read_folders(const scan *s, const char *path, sd_directory *contents) {
    char *whole;
    SD_TRY(sd_path_join(s->root, path, &whole));
    const sd_status status = sd_directory_read(whole, SD_DIRECTORY_FOLDERS, contents);
    free(whole);
    return status;
}

/* ---- a class ---- */

static sd_status add_walked(scan *s, const sd_walk *walk, int32_t label) {
    const size_t before = s->builder.images.n;
    for (int at = 0; at < walk->n; at++)
        SD_TRY(sd_listing_add_images(&s->builder, walk->place[at].path, &walk->place[at].contents.images, label));
    if (s->builder.images.n == before)
        return sd_fail(SD_ERR_DATA, "%s/%s: the class has no image, which is a file .jpg, .jpeg or .png", s->root,
                       walk->place[0].path);
    return SD_OK;
}

/* split: the folder, from the root, that the class lies in, "" for the root itself. */
static sd_status add_class_images(scan *s, const char *split, const char *name, int32_t label) {
    sd_walk walk = {.root = s->root};
    sd_status status = sd_walk_read(&walk, split, name);
    if (status == SD_OK)
        status = add_walked(s, &walk, label);
    sd_walk_free(&walk);
    return status;
}

/* ---- the layout ---- */

/* The first of names that is among folders, as it is written there; NULL: none is. */
static const char *choose(const sd_directory_entries *folders, const char *const *names) {
    for (; *names; names++) {
        const char *same = NULL;
        for (int i = 0; i < folders->n; i++) {
            if (!strcmp(folders->entry[i].name, *names))
                return folders->entry[i].name;
            if (!same && !strcasecmp(folders->entry[i].name, *names))
                same = folders->entry[i].name;
        }
        if (same)
            return same;
    }
    return NULL;
}

static bool is_one_of(const char *name, const char *const *names) {
    while (*names && strcasecmp(name, *names) != 0)
        names++;
    return *names != NULL;
}

/* Whether all folders have names that are a split's. */
static bool are_splits(const sd_directory_entries *folders) {
    for (int i = 0; i < folders->n; i++)
        if (!is_one_of(folders->entry[i].name, train_names) && !is_one_of(folders->entry[i].name, test_names))
            return false;
    return true;
}

static void warn_of_unused(const scan *s) {
    char root[SHOWN_BYTES], name[SHOWN_BYTES], list[2 * SHOWN_BYTES] = "";
    int more = 0;
    for (int i = 0; i < s->top.folders.n; i++) {
        const char *folder = s->top.folders.entry[i].name;
        const size_t used = strlen(list);
        if (folder == s->train_name || folder == s->test_name)
            continue;
        if (used + strlen(folder) + 4 < sizeof list)
            snprintf(list + used, sizeof list - used, "%s'%s'", used ? ", " : "", show(folder, name));
        else
            more++;
    }
    char others[32] = "";
    if (more > 0)
        snprintf(others, sizeof others, " and %d more", more);
    if (*list || more > 0)
        sd_log_warn("%s: images are those in '%s'%s%s%s; not used: %s%s", show(s->root, root), s->train_name,
                    s->test_name ? " and '" : "", s->test_name ? s->test_name : "", s->test_name ? "'" : "", list,
                    others);
}

static sd_status refuse_layout(const char *root, const char *folder) {
    return sd_fail(SD_ERR_DATA,
                   "%s%s%s: has no folders of classes; images are looked for as %s/train/CLASS/IMAGE and "
                   "%s/val/CLASS/IMAGE, or as %s/CLASS/IMAGE",
                   root, *folder ? "/" : "", folder, root, root, root);
}

static sd_status choose_flat(scan *s) {
    char root[SHOWN_BYTES], name[SHOWN_BYTES];
    if (s->top.folders.n == 0)
        return refuse_layout(s->root, "");
    if (are_splits(&s->top.folders))
        return sd_fail(SD_ERR_DATA, "%s: has a folder '%s', but no folder 'train' beside it", s->root,
                       s->top.folders.entry[0].name);
    for (int i = 0; i < s->top.folders.n; i++) {
        const char *folder = s->top.folders.entry[i].name;
        if (is_one_of(folder, train_names) || is_one_of(folder, test_names))
            sd_log_warn("%s: '%s' is taken for a class, as %s", show(s->root, root), show(folder, name),
                        is_one_of(folder, train_names) ? "it has no folders of classes in it"
                                                       : "there is no folder 'train' with classes beside it");
    }
    s->train_name = s->test_name = NULL;
    s->classes = &s->top.folders;
    return SD_OK;
}

/* Reads what splits there are, and says which folders are classes. */
static sd_status choose_layout(scan *s) {
    SD_TRY(sd_directory_read(s->root, SD_DIRECTORY_FOLDERS, &s->top));
    s->train_name = choose(&s->top.folders, train_names);
    s->test_name = choose(&s->top.folders, test_names);
    if (!s->train_name)
        return choose_flat(s);
    SD_TRY(read_folders(s, s->train_name, &s->train));
    s->classes = &s->train.folders;
    if (s->train.folders.n == 0)
        return are_splits(&s->top.folders) ? refuse_layout(s->root, s->train_name) : choose_flat(s);
    if (s->test_name) {
        SD_TRY(read_folders(s, s->test_name, &s->test));
        if (s->test.folders.n == 0)
            return refuse_layout(s->root, s->test_name);
    }
    warn_of_unused(s);
    return SD_OK;
}

/* ---- classes ---- */

static void warn_of_natural_order(const scan *s) {
    char root[SHOWN_BYTES], a[SHOWN_BYTES], b[SHOWN_BYTES];
    for (int i = 0; i + 1 < s->classes->n; i++) {
        const char *first = s->classes->entry[i].name, *second = s->classes->entry[i + 1].name;
        if (sd_natural_compare(first, second) <= 0)
            continue;
        sd_log_warn("%s: classes are in torchvision's order, '%s' before '%s', where timm's is the other way round",
                    show(s->root, root), show(first, a), show(second, b));
        return;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_directory_entry *)a)->name, ((const sd_directory_entry *)b)->name);
}

static int32_t label_of(const scan *s, const char *name) {
    const sd_directory_entry key = {.name = (char *)name};
    const sd_directory_entry *found =
        bsearch(&key, s->classes->entry, (size_t)s->classes->n, sizeof *s->classes->entry, by_name);
    return found ? (int32_t)(found - s->classes->entry) : -1;
}

/* Before any class is walked, as that takes long. */
static sd_status check_test_classes(const scan *s) {
    char root[SHOWN_BYTES], name[SHOWN_BYTES];
    for (int i = 0; i < s->test.folders.n; i++)
        if (label_of(s, s->test.folders.entry[i].name) < 0)
            return sd_fail(SD_ERR_DATA, "%s/%s: the class '%s' is none of the classes in %s/%s", s->root, s->test_name,
                           s->test.folders.entry[i].name, s->root, s->train_name);
    if (s->test_name && s->test.folders.n < s->classes->n) {
        int missing = 0; /* the first class that differs */
        while (missing < s->test.folders.n &&
               !strcmp(s->classes->entry[missing].name, s->test.folders.entry[missing].name))
            missing++;
        sd_log_warn("%s/%s: has %d of the %d classes of training; '%s' is missing", show(s->root, root), s->test_name,
                    s->test.folders.n, s->classes->n, show(s->classes->entry[missing].name, name));
    }
    return SD_OK;
}

static sd_status build(scan *s, sd_listing **listing) {
    SD_TRY(choose_layout(s));
    SD_TRY(check_test_classes(s));
    warn_of_natural_order(s);
    SD_TRY(sd_listing_begin(&s->builder, s->root));
    for (int i = 0; i < s->classes->n; i++)
        SD_TRY(sd_listing_add_class(&s->builder, s->classes->entry[i].name));
    for (int i = 0; i < s->classes->n; i++)
        SD_TRY(add_class_images(s, s->train_name ? s->train_name : "", s->classes->entry[i].name, i));
    sd_listing_begin_test(&s->builder);
    for (int i = 0; i < s->test.folders.n; i++) {
        const char *name = s->test.folders.entry[i].name;
        SD_TRY(add_class_images(s, s->test_name, name, label_of(s, name)));
    }
    return sd_listing_finish(&s->builder, listing);
}

sd_status sd_listing_scan(const char *folder, sd_listing **listing) {
    scan s = {.root = folder};
    *listing = NULL;
    const sd_status status = build(&s, listing);
    sd_listing_abandon(&s.builder);
    sd_directory_free(&s.top);
    sd_directory_free(&s.train);
    sd_directory_free(&s.test);
    return status;
}
