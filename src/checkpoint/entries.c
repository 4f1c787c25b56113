/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and reads the datasets and attributes of a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "hdf5.h"
#include "sdtrain/arena.h"

/* ---- handles: a dataset, or an attribute of the file ---- */

typedef struct handle {
    bool is_attribute;
    hid_t id, type, space;
} handle;

static bool open_handle(hid_t file, const char *path, handle *h) {
    *h = (handle){.is_attribute = path[0] != '/', .type = H5I_INVALID_HID, .space = H5I_INVALID_HID};
    h->id = h->is_attribute ? H5Aopen(file, path, H5P_DEFAULT) : H5Dopen2(file, path, H5P_DEFAULT);
    if (h->id < 0)
        return false;
    h->type = h->is_attribute ? H5Aget_type(h->id) : H5Dget_type(h->id);
    h->space = h->is_attribute ? H5Aget_space(h->id) : H5Dget_space(h->id);
    return h->type >= 0 && h->space >= 0;
}

static void close_handle(handle *h) {
    if (h->space >= 0)
        H5Sclose(h->space);
    if (h->type >= 0)
        H5Tclose(h->type);
    if (h->id >= 0)
        (void)(h->is_attribute ? H5Aclose(h->id) : H5Dclose(h->id));
}

/* ---- describing ---- */

static bool kind_of(hid_t type, sd_entry_kind *kind) {
    const size_t bytes = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_FLOAT:
        *kind = bytes == sizeof(float) ? SD_ENTRY_F32 : SD_ENTRY_F64;
        return bytes == sizeof(float) || bytes == sizeof(double);
    case H5T_INTEGER:
        *kind = H5Tget_sign(type) == H5T_SGN_NONE ? SD_ENTRY_U64 : SD_ENTRY_I64;
        return bytes <= sizeof(uint64_t);
    case H5T_STRING:
        *kind = SD_ENTRY_TEXT;
        return H5Tis_variable_str(type) == 0;
    default:
        return false;
    }
}

static bool describe(const handle *h, size_t file_bytes, sd_entry *entry) {
    hsize_t extent[H5S_MAX_RANK];
    const hssize_t elems = H5Sget_simple_extent_npoints(h->space);
    entry->dims = H5Sget_simple_extent_dims(h->space, extent, NULL);
    entry->elem_bytes = H5Tget_size(h->type);
    if (entry->dims < 0 || entry->dims > SD_ENTRY_DIMS || elems < 1 || !kind_of(h->type, &entry->kind) ||
        (entry->kind == SD_ENTRY_TEXT && elems != 1) || (hsize_t)elems > file_bytes / entry->elem_bytes)
        return false;
    entry->elems = (size_t)elems;
    for (int i = 0; i < entry->dims; i++)
        entry->shape[i] = (size_t)extent[i];
    return true;
}

typedef struct listing {
    const sd_checkpoint_file *from;
    sd_entry *entries;
    int n, capacity;
    sd_status status;
} listing;

static herr_t add(listing *list, const char *slash, const char *name) {
    sd_entry entry = {0};
    handle h;
    const int length = snprintf(entry.path, sizeof entry.path, "%s%s", slash, name);
    const bool opened = open_handle(list->from->file, entry.path, &h);
    if (length >= SD_ENTRY_PATH || !opened || !describe(&h, list->from->n_bytes, &entry))
        list->status = sd_fail(SD_ERR_DATA, "%s: %s%s is of a kind or size that no checkpoint holds", list->from->path,
                               slash, name);
    else
        list->status = sd_grow(&list->entries, list->n, &list->capacity, sizeof *list->entries);
    close_handle(&h);
    if (list->status == SD_OK)
        list->entries[list->n++] = entry;
    return list->status == SD_OK ? 0 : -1;
}

static herr_t add_link(hid_t root, const char *name, const H5L_info_t *info, void *list) {
    (void)info;
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);
    const bool is_group = object >= 0 && H5Iget_type(object) == H5I_GROUP;
    if (object >= 0)
        H5Oclose(object);
    return is_group ? 0 : add(list, "/", name);
}

static herr_t add_attribute(hid_t root, const char *name, const H5A_info_t *info, void *list) {
    (void)root;
    (void)info;
    return add(list, "", name);
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const sd_entry *)a)->path, ((const sd_entry *)b)->path);
}

sd_status sd_checkpoint_entries(const sd_checkpoint_file *file, sd_entry **entries, int *n) {
    listing list = {.from = file};
    sd_hdf5_lock();
    bool good = H5Lvisit(file->file, H5_INDEX_NAME, H5_ITER_INC, add_link, &list) >= 0 &&
                H5Aiterate2(file->file, H5_INDEX_NAME, H5_ITER_INC, NULL, add_attribute, &list) >= 0;
    sd_hdf5_unlock();
    if (!good && list.status == SD_OK)
        list.status = sd_fail(SD_ERR_DATA, "%s: HDF5 cannot list its content", file->path);
    if (list.status != SD_OK) {
        free(list.entries);
        return list.status;
    }
    if (list.n > 0)
        qsort(list.entries, (size_t)list.n, sizeof *list.entries,
              by_path); /* '/' sorts before letters: datasets before attributes */
    *entries = list.entries;
    *n = list.n;
    return SD_OK;
}

/* ---- reading ---- */

/* The HDF5 type of values in memory; texts keep their stored type. */
static hid_t memory_type(const sd_entry *entry, hid_t stored) {
    switch (entry->kind) {
    case SD_ENTRY_F32:
        return H5Tcopy(H5T_NATIVE_FLOAT);
    case SD_ENTRY_F64:
        return H5Tcopy(H5T_NATIVE_DOUBLE);
    case SD_ENTRY_I64:
        return H5Tcopy(H5T_NATIVE_INT64);
    case SD_ENTRY_U64:
        return H5Tcopy(H5T_NATIVE_UINT64);
    default:
        return H5Tcopy(stored);
    }
}

sd_status sd_checkpoint_read(const sd_checkpoint_file *file, const sd_entry *entry, void **values) {
    const bool is_text = entry->kind == SD_ENTRY_TEXT;
    handle h;
    SD_TRY(sd_alloc(values, entry->elems, is_text ? entry->elem_bytes + 1 : sizeof(uint64_t)));
    sd_hdf5_lock();
    bool good = open_handle(file->file, entry->path, &h);
    if (good) {
        hid_t type = memory_type(entry, h.type);
        good = (h.is_attribute ? H5Aread(h.id, type, *values)
                               : H5Dread(h.id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values)) >= 0;
        H5Tclose(type);
    }
    close_handle(&h);
    sd_hdf5_unlock();
    if (good)
        return SD_OK;
    free(*values);
    *values = NULL;
    return sd_fail(SD_ERR_DATA, "%s: %s cannot be read", file->path, entry->path);
}

size_t sd_checkpoint_file_bytes(const sd_checkpoint_file *file) { return file->n_bytes; }
