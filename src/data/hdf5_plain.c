/* SPDX-License-Identifier: Apache-2.0 */
/* Reads HDF5 files of images and labels as people make them, in a process of its own. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "packed.h"
#include "plain_wire.h"
#include "sdtrain/arena.h"
#include "sdtrain/pack.h"

enum { NAME_BYTES = 64, MOST_CACHE_BYTES = 1 << 30, CACHE_SLOTS = 10007, MOST_COUNT = 1 << 24 };

static const char *const splits[2][6] = {{"train", "training"}, {"val", "valid", "validation", "test"}};
static const char *const image_words[] = {"images", "image", "img", "x", "X", "data", NULL};
static const char *const label_words[] = {"labels", "label", "y", "Y", "targets", "target", NULL};

typedef struct part {
    char images[NAME_BYTES], labels[NAME_BYTES]; /* "" : there is none */
    hid_t pixels;                                /* the array of images */
    uint32_t n;
    int32_t *label;
} part;

typedef struct reader {
    const char *path;
    hid_t file;
    part parts[2];
    uint32_t h, w, classes;
    bool planar; /* [N, 3, H, W] */
} reader;

/* ---- names ---- */

/* Whether an object is there that lies in this file; a link on the way to another file is not followed. */
static bool is_there(hid_t file, const char *name) {
    char prefix[NAME_BYTES];
    for (size_t end = 1; end <= strlen(name); end++) {
        H5L_info_t info;
        if (name[end] != '/' && name[end] != '\0')
            continue;
        snprintf(prefix, sizeof prefix, "%.*s", (int)end, name);
        if (H5Lexists(file, prefix, H5P_DEFAULT) <= 0 || H5Lget_info(file, prefix, &info, H5P_DEFAULT) < 0 ||
            (info.type != H5L_TYPE_HARD && info.type != H5L_TYPE_SOFT))
            return false;
    }
    return H5Oexists_by_name(file, name, H5P_DEFAULT) > 0;
}

/* The first of the words that a pattern makes the name of something in the file. form 0: SPLIT/WORD, 1: SPLIT_WORD,
 * 2: WORD_SPLIT, 3: WORD. */
static bool find_word(hid_t file, int form, const char *split, const char *const *words, char name[NAME_BYTES]) {
    for (; *words; words++) {
        if (form == 3)
            snprintf(name, NAME_BYTES, "%s", *words);
        else
            snprintf(name, NAME_BYTES, form == 0 ? "%s/%s" : "%s_%s", form == 2 ? *words : split,
                     form == 2 ? split : *words);
        if (is_there(file, name))
            return true;
    }
    name[0] = '\0';
    return false;
}

static bool find_part(hid_t file, int form, const char *const *names, part *found) {
    for (; *names; names++)
        if (find_word(file, form, *names, image_words, found->images) &&
            find_word(file, form, *names, label_words, found->labels))
            return true;
    found->images[0] = '\0';
    return false;
}

static sd_status find_parts(reader *r) {
    for (int form = 0; form < 3; form++)
        if (find_part(r->file, form, splits[0], &r->parts[0])) {
            find_part(r->file, form, splits[1], &r->parts[1]);
            return SD_OK;
        }
    if (find_part(r->file, 3, splits[0], &r->parts[0])) /* there, all images are training images */
        return SD_OK;
    return sd_fail(SD_ERR_DATA,
                   "%s: has no images and labels that pack knows: train/images and train/labels (and val/..., or "
                   "test/...), x_train and y_train, train_images and train_labels, or images and labels",
                   r->path);
}

/* ---- arrays ---- */

static const char *type_name(hid_t type, char text[32]) {
    static const char *const kinds[] = {"integer",     "float",           "time",     "text",
                                        "bits",        "opaque",          "compound", "reference",
                                        "enumeration", "variable-length", "array"};
    const H5T_class_t kind = H5Tget_class(type);
    const char *word = kind >= 0 && kind < (int)(sizeof kinds / sizeof kinds[0]) ? kinds[kind] : "unknown";
    if (kind == H5T_INTEGER)
        word = H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int";
    snprintf(text, 32, "%s%zu", word, 8 * H5Tget_size(type));
    return text;
}

static sd_status open_array(const reader *r, const char *name, hid_t *array) {
    hid_t how = H5Pcreate(H5P_DATASET_ACCESS), first = H5Dopen2(r->file, name, H5P_DEFAULT);
    size_t cache = 1 << 20;
    *array = H5I_INVALID_HID;
    if (first >= 0) { /* a chunk is decompressed once for all blocks that it has images of */
        hid_t created = H5Dget_create_plist(first), type = H5Dget_type(first);
        const H5D_layout_t layout = H5Pget_layout(created);
        hsize_t chunk[H5S_MAX_RANK] = {0};
        const int dims = layout == H5D_CHUNKED ? H5Pget_chunk(created, H5S_MAX_RANK, chunk) : 0;
        double bytes = (double)H5Tget_size(type);
        for (int i = 0; i < dims; i++)
            bytes *= (double)chunk[i];
        if (dims > 0 && bytes > (double)cache && bytes < MOST_CACHE_BYTES)
            cache = (size_t)bytes;
        const bool elsewhere = layout == H5D_VIRTUAL || H5Pget_external_count(created) > 0;
        H5Tclose(type);
        H5Pclose(created);
        H5Dclose(first);
        if (elsewhere) {
            H5Pclose(how);
            return sd_fail(SD_ERR_DATA, "%s: %s lies in other files; copy it into one (h5repack)", r->path, name);
        }
    }
    H5Pset_chunk_cache(how, CACHE_SLOTS, cache, 1);
    *array = H5Dopen2(r->file, name, how);
    H5Pclose(how);
    return *array >= 0 ? SD_OK : sd_fail(SD_ERR_DATA, "%s: %s is no array that HDF5 can read", r->path, name);
}

/* Dimensions of an array; -1: it has none. */
static int shape_of(hid_t array, hsize_t shape[H5S_MAX_RANK], char text[128]) {
    hid_t space = H5Dget_space(array);
    const int dims = space >= 0 ? H5Sget_simple_extent_dims(space, shape, NULL) : -1;
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < dims && used < 100; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    if (space >= 0)
        H5Sclose(space);
    return dims;
}

/* The first part says what images are; those of the second are like them. */
static sd_status check_images(reader *r, bool test) {
    part *p = &r->parts[test];
    hsize_t shape[H5S_MAX_RANK] = {0};
    char text[128], type_text[32];
    SD_TRY(open_array(r, p->images, &p->pixels));
    hid_t type = H5Dget_type(p->pixels);
    const bool bytes = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
    type_name(type, type_text);
    H5Tclose(type);
    if (!bytes)
        return sd_fail(SD_ERR_DATA, "%s: %s holds %s, and pack takes uint8 pixels, 0..255: convert them first", r->path,
                       p->images, type_text);
    const int dims = shape_of(p->pixels, shape, text);
    const bool planar = dims == 4 && shape[3] != SD_CHANNELS && shape[1] == SD_CHANNELS;
    if (dims != 4 || (!planar && shape[3] != SD_CHANNELS))
        return sd_fail(SD_ERR_DATA, "%s: %s is [%s], where [N, H, W, 3] or [N, 3, H, W] is expected", r->path,
                       p->images, text);
    const hsize_t h = shape[planar ? 2 : 1], w = shape[planar ? 3 : 2];
    if (h < 1 || w < 1 || h > SD_IMAGE_MOST_SIDE || w > SD_IMAGE_MOST_SIDE || h * w > SD_IMAGE_MOST_PIXELS ||
        shape[0] < 1 || shape[0] >= UINT32_MAX)
        return sd_fail(SD_ERR_DATA, "%s: %s is [%s], which is empty or too large", r->path, p->images, text);
    if (test && (h != r->h || w != r->w || planar != r->planar))
        return sd_fail(SD_ERR_DATA, "%s: %s is [%s], other pixels than those of %s", r->path, p->images, text,
                       r->parts[0].images);
    p->n = (uint32_t)shape[0];
    r->h = (uint32_t)h;
    r->w = (uint32_t)w;
    r->planar = planar;
    return SD_OK;
}

static sd_status read_label_array(const reader *r, part *p, hid_t array, int64_t *wide) {
    hsize_t shape[H5S_MAX_RANK] = {0};
    char text[128], type_text[32];
    hid_t type = H5Dget_type(array);
    const bool whole = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) <= sizeof(int64_t);
    type_name(type, type_text);
    H5Tclose(type);
    const int dims = shape_of(array, shape, text);
    if (!whole)
        return sd_fail(SD_ERR_DATA, "%s: %s holds %s, and labels are integers from 0", r->path, p->labels, type_text);
    if ((dims != 1 && (dims != 2 || shape[1] != 1)) || shape[0] != p->n)
        return sd_fail(SD_ERR_DATA, "%s: %s is [%s], where [%u] is expected, a label for each of %s", r->path,
                       p->labels, text, p->n, p->images);
    if (H5Dread(array, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, wide) < 0)
        return sd_fail(SD_ERR_DATA, "%s: %s cannot be read", r->path, p->labels);
    return SD_OK;
}

/* Training labels say how many classes there are. */
static sd_status take_labels(reader *r, bool test, const int64_t *wide) {
    part *p = &r->parts[test];
    const int64_t most = test ? (int64_t)r->classes : SD_PACKED_MOST_CLASSES;
    for (uint32_t i = 0; i < p->n; i++) {
        if (wide[i] < 0 || wide[i] >= most)
            return sd_fail(SD_ERR_DATA, "%s: %s[%u] is %lld, where 0 to %lld is expected", r->path, p->labels, i,
                           (long long)wide[i], (long long)most - 1);
        p->label[i] = (int32_t)wide[i];
        if (!test && (uint32_t)p->label[i] >= r->classes)
            r->classes = (uint32_t)p->label[i] + 1;
    }
    return SD_OK;
}

static sd_status check_labels(reader *r, bool test) {
    part *p = &r->parts[test];
    int64_t *wide = NULL;
    hid_t array;
    SD_TRY(open_array(r, p->labels, &array));
    sd_status status = sd_alloc(&p->label, p->n, sizeof *p->label);
    if (status == SD_OK)
        status = sd_alloc(&wide, p->n, sizeof *wide);
    if (status == SD_OK)
        status = read_label_array(r, p, array, wide);
    if (status == SD_OK)
        status = take_labels(r, test, wide);
    free(wide);
    H5Dclose(array);
    return status;
}

static sd_status open_plain(reader *r) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (access(r->path, R_OK) != 0)
        return sd_fail(SD_ERR_NOINPUT, "%s: cannot be read", r->path);
    r->file = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (r->file < 0)
        return sd_fail(SD_ERR_DATA, "%s: is no HDF5 file, or a damaged one", r->path);
    SD_TRY(find_parts(r));
    for (int test = 0; test < 2; test++)
        if (r->parts[test].images[0]) {
            SD_TRY(check_images(r, test));
            SD_TRY(check_labels(r, test));
        }
    return SD_OK;
}

/* ---- answers ---- */

/* [3, H, W] -> [H, W, 3] */
static void interleave(const uint8_t *planes, size_t pixels, uint8_t *to) {
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < SD_CHANNELS; c++)
            *to++ = planes[c * pixels + i];
}

static sd_status read_block(const reader *r, const sd_plain_request *q, uint8_t *stored, uint8_t *pixels) {
    const part *p = &r->parts[q->test];
    const size_t plane = (size_t)r->h * r->w;
    const hsize_t start[] = {q->first, 0, 0, 0}, planar[] = {q->count, SD_CHANNELS, r->h, r->w},
                  plain[] = {q->count, r->h, r->w, SD_CHANNELS}, *shape = r->planar ? planar : plain;
    hid_t space = H5Dget_space(p->pixels), memory = H5Screate_simple(4, shape, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, shape, NULL);
    const bool good = H5Dread(p->pixels, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, stored) >= 0;
    H5Sclose(memory);
    H5Sclose(space);
    if (!good)
        return sd_fail(SD_ERR_DATA,
                       "%s: %s: images %u to %u cannot be read: the file is damaged, or a filter is missing", r->path,
                       p->images, q->first, q->first + q->count - 1);
    for (uint32_t i = 0; r->planar && i < q->count; i++)
        interleave(stored + i * plane * SD_CHANNELS, plane, pixels + i * plane * SD_CHANNELS);
    return SD_OK;
}

static sd_plain_answer answer_of(sd_status status) {
    sd_plain_answer answer = {.status = status};
    if (status != SD_OK)
        snprintf(answer.message, sizeof answer.message, "%s", sd_error_message());
    return answer;
}

static sd_status answer_one(const reader *r, const sd_plain_request *q, int socket) {
    const size_t bytes = (size_t)q->count * r->h * r->w * SD_CHANNELS;
    uint8_t *stored = NULL, *pixels = NULL;
    sd_status status = sd_alloc(&stored, bytes, 1);
    if (status == SD_OK && r->planar)
        status = sd_alloc(&pixels, bytes, 1);
    if (status == SD_OK)
        status = read_block(r, q, stored, pixels);
    const sd_plain_answer answer = answer_of(status);
    sd_status sent = sd_plain_send(socket, &answer, sizeof answer);
    if (sent == SD_OK && status == SD_OK)
        sent = sd_plain_send(socket, r->planar ? pixels : stored, bytes);
    free(stored);
    free(pixels);
    return sent;
}

static sd_status greet(const reader *r, sd_status status, int socket) {
    const sd_plain_hello hello = {.answer = answer_of(status),
                                  .images = {r->parts[0].n, r->parts[1].n},
                                  .height = r->h,
                                  .width = r->w,
                                  .classes = r->classes};
    SD_TRY(sd_plain_send(socket, &hello, sizeof hello));
    for (int test = 0; test < 2 && status == SD_OK; test++)
        SD_TRY(sd_plain_send(socket, r->parts[test].label, r->parts[test].n * sizeof(int32_t)));
    return status;
}

void sd_pack_serve_plain(const char *path, int socket) {
    reader r = {.path = path, .file = H5I_INVALID_HID};
    sd_plain_request q;
    const sd_status status = open_plain(&r);
    if (greet(&r, status, socket) != SD_OK)
        return;
    while (sd_plain_receive(socket, &q, sizeof q) == SD_OK && q.test < 2 && q.first < r.parts[q.test].n &&
           q.count <= r.parts[q.test].n - q.first && q.count <= MOST_COUNT)
        if (answer_one(&r, &q, socket) != SD_OK)
            return;
}
