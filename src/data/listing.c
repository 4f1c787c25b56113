/* SPDX-License-Identifier: Apache-2.0 */
#include "listing.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/hash.h"

/* A list in memory and in a message:
 *
 *     sd_listing | image[n_train + n_test] | folder[n_folders] | class name (u32)[n_classes] | text
 *
 * text: names and paths, each with a zero behind it, the path of the root first; they are referred to by their offset.
 * Numbers are in the machine's byte order. */
typedef struct image {
    uint64_t file_bytes;
    uint32_t name;
    uint32_t folder;
} image;

typedef struct folder {
    uint32_t path; /* from the root */
    uint32_t label;
} folder;

struct sd_listing {
    sd_found found;
    uint32_t n_train, n_test, n_folders, n_classes;
    uint64_t text_bytes;
    image images[];
};

static const folder *folders_of(const sd_listing *listing) {
    return (const folder *)(listing->images + listing->n_train + listing->n_test);
}

static const uint32_t *classes_of(const sd_listing *listing) {
    return (const uint32_t *)(folders_of(listing) + listing->n_folders);
}

static const char *text_of(const sd_listing *listing) {
    return (const char *)(classes_of(listing) + listing->n_classes);
}

/* Fits in 64 bits whatever the header says, if text_bytes does in 32. */
static uint64_t bytes_of(const sd_listing *listing) {
    return sizeof *listing + ((uint64_t)listing->n_train + listing->n_test) * sizeof(image) +
           (uint64_t)listing->n_folders * sizeof(folder) + (uint64_t)listing->n_classes * sizeof(uint32_t) +
           listing->text_bytes;
}

/* ---- reading ---- */

void sd_listing_free(sd_listing **listing) {
    free(*listing);
    *listing = NULL;
}

uint32_t sd_listing_images(const sd_listing *listing, bool test) { return test ? listing->n_test : listing->n_train; }

int32_t sd_listing_classes(const sd_listing *listing) { return (int32_t)listing->n_classes; }

const char *sd_listing_class(const sd_listing *listing, int32_t label) {
    return text_of(listing) + classes_of(listing)[label];
}

static const image *image_at(const sd_listing *listing, bool test, uint32_t index) {
    return &listing->images[test ? (size_t)listing->n_train + index : index];
}

static const folder *folder_at(const sd_listing *listing, bool test, uint32_t index) {
    return &folders_of(listing)[image_at(listing, test, index)->folder];
}

int32_t sd_listing_label(const sd_listing *listing, bool test, uint32_t index) {
    return (int32_t)folder_at(listing, test, index)->label;
}

uint64_t sd_listing_file_bytes(const sd_listing *listing, bool test, uint32_t index) {
    return image_at(listing, test, index)->file_bytes;
}

static char *append(char *to, const char *text) {
    const size_t n = strlen(text);
    memcpy(to, text, n + 1);
    return to + n;
}

/* A folder's path, and what parts it from a name. */
static char *append_folder(char *to, const char *path) {
    char *end = append(to, path);
    return end > to && end[-1] != '/' ? append(end, "/") : end;
}

/* From the root. */
static char *append_path(const sd_listing *listing, bool test, uint32_t index, char *to) {
    const char *text = text_of(listing);
    to = append_folder(to, text + folder_at(listing, test, index)->path);
    return append(to, text + image_at(listing, test, index)->name);
}

const char *sd_listing_path(const sd_listing *listing, bool test, uint32_t index, char path[SD_LISTING_PATH_BYTES]) {
    append_path(listing, test, index, append_folder(path, text_of(listing)));
    return path;
}

uint64_t sd_listing_fingerprint(const sd_listing *listing) {
    char path[SD_LISTING_PATH_BYTES];
    const uint64_t counts[] = {listing->n_classes, listing->n_train, listing->n_test};
    uint64_t hash = sd_hash(counts, sizeof counts);
    for (int32_t c = 0; c < sd_listing_classes(listing); c++) {
        const char *name = sd_listing_class(listing, c);
        const uint64_t row[] = {hash, sd_hash(name, strlen(name))};
        hash = sd_hash(row, sizeof row);
    }
    for (int test = 0; test < 2; test++)
        for (uint32_t i = 0; i < sd_listing_images(listing, test); i++) {
            const char *end = append_path(listing, test, i, path);
            const uint64_t row[] = {hash, sd_hash(path, (size_t)(end - path)), sd_listing_file_bytes(listing, test, i),
                                    (uint64_t)sd_listing_label(listing, test, i)};
            hash = sd_hash(row, sizeof row);
        }
    return hash;
}

/* ---- broadcasting ---- */

void sd_listing_pack(const sd_listing *listing, const void **bytes, size_t *n_bytes) {
    *bytes = listing;
    *n_bytes = (size_t)listing->found.bytes;
}

static sd_status damaged(const char *what) { return sd_fail(SD_ERR_DATA, "a list of images is damaged: %s", what); }

/* Room for the two slashes is part of what a builder counts. */
static bool path_fits(const sd_listing *listing, const image *file) {
    const char *text = text_of(listing);
    const size_t most = SD_LISTING_PATH_BYTES;
    return strnlen(text, most) + strnlen(text + folders_of(listing)[file->folder].path, most) +
               strnlen(text + file->name, most) + 3 <=
           most;
}

static sd_status check_header(const sd_listing *listing, size_t n_bytes) {
    if (n_bytes < sizeof *listing)
        return damaged("it ends within its header");
    if (listing->found.format != SD_FOUND_LISTING)
        return damaged("it does not begin as lists do on this machine");
    if (listing->n_classes > INT32_MAX || (uint64_t)listing->n_train + listing->n_test > UINT32_MAX ||
        listing->text_bytes > UINT32_MAX || listing->text_bytes == 0)
        return damaged("a number in its header is beyond its limit");
    if (listing->found.bytes != n_bytes || bytes_of(listing) != n_bytes)
        return damaged("its length is not that of its parts");
    return SD_OK;
}

/* Every string ends within the text, as the last byte of that is a zero. */
static sd_status check_parts(const sd_listing *listing) {
    const uint32_t *classes = classes_of(listing), n_images = listing->n_train + listing->n_test;
    const folder *folders = folders_of(listing);
    const uint64_t text_bytes = listing->text_bytes;
    if (text_of(listing)[text_bytes - 1] != '\0')
        return damaged("its last name does not end");
    for (uint32_t c = 0; c < listing->n_classes; c++)
        if (classes[c] >= text_bytes)
            return damaged("the name of a class lies outside");
    for (uint32_t f = 0; f < listing->n_folders; f++)
        if (folders[f].path >= text_bytes || folders[f].label >= listing->n_classes)
            return damaged("a folder's path lies outside, or its label is of no class");
    for (uint32_t i = 0; i < n_images; i++) {
        const image *file = &listing->images[i];
        if (file->folder >= listing->n_folders || file->name >= text_bytes || !path_fits(listing, file))
            return damaged("an image's folder or name lies outside, or its path is too long");
    }
    return SD_OK;
}

sd_status sd_listing_unpack(void *bytes, size_t n_bytes, sd_listing **listing) {
    *listing = NULL;
    SD_TRY(check_header(bytes, n_bytes));
    SD_TRY(check_parts(bytes));
    *listing = bytes;
    return SD_OK;
}

/* ---- building ---- */

static sd_status reserve(sd_listing_part *part, size_t more, size_t object_bytes) {
    if (more > UINT32_MAX - part->n)
        return sd_fail(SD_ERR_DATA, "a list of images has room for %u images, folders and bytes of names", UINT32_MAX);
    if (part->n + more <= part->capacity)
        return SD_OK;
    size_t capacity = part->capacity + part->capacity / 2;
    if (capacity < part->n + more)
        capacity = part->n + more + 64;
    void *memory = realloc(part->memory, capacity * object_bytes);
    if (!memory)
        return sd_fail(SD_ERR_MEMORY, "out of memory: %zu bytes were needed for a list of images",
                       capacity * object_bytes);
    part->memory = memory;
    part->capacity = capacity;
    return SD_OK;
}

static sd_status add(sd_listing_part *part, const void *object, size_t object_bytes) {
    SD_TRY(reserve(part, 1, object_bytes));
    memcpy((char *)part->memory + part->n++ * object_bytes, object, object_bytes);
    return SD_OK;
}

static sd_status add_text(sd_listing_part *text, const char *string, uint32_t *offset) {
    const size_t n = strlen(string) + 1;
    SD_TRY(reserve(text, n, 1));
    memcpy((char *)text->memory + text->n, string, n);
    *offset = (uint32_t)text->n;
    text->n += n;
    return SD_OK;
}

sd_status sd_listing_begin(sd_listing_builder *builder, const char *root) {
    uint32_t offset;
    builder->root_bytes = strlen(root);
    return add_text(&builder->text, root, &offset);
}

sd_status sd_listing_add_class(sd_listing_builder *builder, const char *name) {
    uint32_t offset;
    if (builder->classes.n == INT32_MAX)
        return sd_fail(SD_ERR_DATA, "a list of images has room for %d classes", INT32_MAX);
    SD_TRY(add_text(&builder->text, name, &offset));
    return add(&builder->classes, &offset, sizeof offset);
}

sd_status sd_listing_add_folder(sd_listing_builder *builder, const char *path, int32_t label) {
    folder added = {.label = (uint32_t)label};
    builder->folder_bytes = strlen(path);
    SD_TRY(add_text(&builder->text, path, &added.path));
    return add(&builder->folders, &added, sizeof added);
}

sd_status sd_listing_add_image(sd_listing_builder *builder, const char *name, uint64_t file_bytes) {
    image added = {.file_bytes = file_bytes, .folder = (uint32_t)builder->folders.n - 1};
    if (builder->root_bytes + builder->folder_bytes + strlen(name) + 3 > SD_LISTING_PATH_BYTES) {
        const folder *last = (const folder *)builder->folders.memory + added.folder;
        const char *text = builder->text.memory;
        return sd_fail(SD_ERR_DATA, "a path is too long, %d bytes are the limit: %s in %s/%s",
                       SD_LISTING_PATH_BYTES - 1, name, text, text + last->path);
    }
    SD_TRY(add_text(&builder->text, name, &added.name));
    SD_TRY(add(&builder->images, &added, sizeof added));
    builder->n_train += !builder->test;
    return SD_OK;
}

sd_status sd_listing_add_images(sd_listing_builder *builder, const char *path, const sd_directory_entries *images,
                                int32_t label) {
    if (images->n == 0)
        return SD_OK;
    SD_TRY(sd_listing_add_folder(builder, path, label));
    for (int i = 0; i < images->n; i++)
        SD_TRY(sd_listing_add_image(builder, images->entry[i].name, images->entry[i].bytes));
    return SD_OK;
}

void sd_listing_begin_test(sd_listing_builder *builder) { builder->test = true; }

static void forget(sd_listing_part *part) {
    free(part->memory);
    *part = (sd_listing_part){0};
}

/* Copies a part and frees it, so that there are never two of all of it. Returns where the next one goes. */
static char *move_part(sd_listing_part *part, size_t object_bytes, char *to) {
    const size_t n = part->n * object_bytes;
    if (n > 0)
        memcpy(to, part->memory, n);
    forget(part);
    return to + n;
}

sd_status sd_listing_finish(sd_listing_builder *builder, sd_listing **listing) {
    sd_listing header = {.found = {.format = SD_FOUND_LISTING},
                         .n_train = (uint32_t)builder->n_train,
                         .n_test = (uint32_t)(builder->images.n - builder->n_train),
                         .n_folders = (uint32_t)builder->folders.n,
                         .n_classes = (uint32_t)builder->classes.n,
                         .text_bytes = builder->text.n};
    header.found.bytes = bytes_of(&header);
    SD_TRY(sd_alloc(listing, (size_t)header.found.bytes, 1));
    memcpy(*listing, &header, sizeof header);
    char *to = (char *)(*listing)->images;
    to = move_part(&builder->images, sizeof(image), to);
    to = move_part(&builder->folders, sizeof(folder), to);
    to = move_part(&builder->classes, sizeof(uint32_t), to);
    move_part(&builder->text, 1, to);
    sd_listing_abandon(builder);
    return SD_OK;
}

void sd_listing_abandon(sd_listing_builder *builder) {
    forget(&builder->images);
    forget(&builder->folders);
    forget(&builder->classes);
    forget(&builder->text);
    *builder = (sd_listing_builder){0};
}
