/* SPDX-License-Identifier: Apache-2.0 */
#include "hdf5_packed.h"

#include <endian.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

enum { ALIGNED_FROM_BYTES = 1 << 16, ALIGNMENT = 512 }; /* HDF5 takes no more than the user block has */

static sd_status failed(const char *path) {
    return sd_fail(SD_ERR_IO,
                   "%s: HDF5 cannot write it: the disk may be full, or be one without locks "
                   "(HDF5_USE_FILE_LOCKING=FALSE)",
                   path);
}

/* A contiguous array whose place in the file is known at once, and which HDF5 does not fill. The same file is made of
 * the same images: no time is stored. */
static hid_t create_array(hid_t file, const char *name, hid_t type, int dims, const hsize_t *shape) {
    hid_t space = H5Screate_simple(dims, shape, NULL), layout = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(layout, H5D_CONTIGUOUS);
    H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(layout, false);
    hid_t array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, layout, H5P_DEFAULT);
    H5Pclose(layout);
    H5Sclose(space);
    return array;
}

static bool make_group(hid_t file, const char *name) {
    hid_t how = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(how, false);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, how, H5P_DEFAULT);
    H5Pclose(how);
    return group >= 0 && H5Gclose(group) >= 0;
}

static bool make_images(hid_t file, bool test, sd_packed_header *h) {
    const sd_packed_part part = sd_packed_part_of(SD_PACKED_IMAGES, test);
    const bool encoded = h->kind == SD_PACKED_ENCODED;
    const hsize_t pixels[] = {h->images[test], h->height, h->width, SD_CHANNELS}, bytes[] = {h->array[part].bytes};
    hid_t array =
        create_array(file, sd_packed_path(h->kind, part), H5T_STD_U8LE, encoded ? 1 : 4, encoded ? bytes : pixels);
    const haddr_t at = array >= 0 ? H5Dget_offset(array) : HADDR_UNDEF;
    if (!encoded)
        h->array[part].bytes = pixels[0] * pixels[1] * pixels[2] * pixels[3];
    h->array[part].at = at;
    return array >= 0 && H5Dclose(array) >= 0 && at != HADDR_UNDEF;
}

sd_status sd_hdf5_packed_create(const char *path, sd_packed_header *h) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t how = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_userblock(how, SD_PACKED_HEADER_BYTES);
    H5Pset_obj_track_times(how, false);
    H5Pset_alignment(access, ALIGNED_FROM_BYTES, ALIGNMENT);
    hid_t file = H5Fcreate(path, H5F_ACC_EXCL, how, access);
    bool good = file >= 0 && make_group(file, "/train") && make_images(file, false, h);
    if (good && h->images[1] > 0)
        good = make_group(file, "/val") && make_images(file, true, h);
    if (file >= 0)
        good = H5Fclose(file) >= 0 && good;
    H5Pclose(access);
    H5Pclose(how);
    return good ? SD_OK : failed(path);
}

/* ---- the small arrays ---- */

/* Writes an array that the table lists. bytes: as in the file. */
static bool write_part(hid_t file, sd_packed_header *h, sd_packed_part part, hid_t type, hsize_t elems,
                       const void *bytes) {
    hid_t array = create_array(file, sd_packed_path(h->kind, part), type, 1, &elems);
    bool good = array >= 0 && H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0;
    const haddr_t at = good ? H5Dget_offset(array) : HADDR_UNDEF;
    h->array[part].at = at;
    h->array[part].bytes = elems * H5Tget_size(type);
    sd_packed_digest(bytes, h->array[part].bytes, h->array[part].digest);
    if (array >= 0)
        good = H5Dclose(array) >= 0 && good;
    return good && at != HADDR_UNDEF;
}

/* Values in memory, as they are in the file. Caller frees; NULL: no memory. */
static void *as_stored(const void *values, size_t elems, size_t elem_bytes) {
    void *stored = malloc(elems * elem_bytes);
    for (size_t i = 0; stored && i < elems; i++)
        if (elem_bytes == sizeof(uint64_t))
            ((uint64_t *)stored)[i] = htole64(((const uint64_t *)values)[i]);
        else
            ((uint32_t *)stored)[i] = htole32(((const uint32_t *)values)[i]);
    return stored;
}

static bool write_tables_of(hid_t file, bool test, sd_packed_header *h, const sd_packed_tables *tables) {
    const uint32_t images = h->images[test];
    void *labels = as_stored(tables->labels[test], images, sizeof(int32_t));
    bool good = labels && write_part(file, h, sd_packed_part_of(SD_PACKED_LABELS, test), H5T_STD_I32LE, images, labels);
    free(labels);
    if (!good || h->kind != SD_PACKED_ENCODED)
        return good;
    void *offsets = as_stored(tables->offsets[test], (size_t)images + 1, sizeof(uint64_t));
    good = offsets &&
           write_part(file, h, sd_packed_part_of(SD_PACKED_OFFSETS, test), H5T_STD_U64LE, (hsize_t)images + 1, offsets);
    free(offsets);
    return good;
}

static bool write_classes(hid_t file, sd_packed_header *h, const sd_packed_tables *tables) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, tables->name_bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const bool good = write_part(file, h, SD_PACKED_CLASSES, type, h->classes, tables->names);
    H5Tclose(type);
    return good;
}

static bool write_floats(hid_t file, const char *name, const float *values) {
    const hsize_t channels = SD_CHANNELS;
    hid_t array = create_array(file, name, H5T_IEEE_F32LE, 1, &channels);
    const bool good = array >= 0 && H5Dwrite(array, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    return array >= 0 && H5Dclose(array) >= 0 && good;
}

static bool write_attribute(hid_t file, const char *name, hid_t type, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

static bool write_attributes(hid_t file, const sd_packed_header *h) {
    const int version = SD_PACKED_VERSION;
    const char *kind = h->kind == SD_PACKED_ENCODED ? "encoded" : "decoded";
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(kind) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const bool good =
        write_attribute(file, "format_version", H5T_NATIVE_INT, &version) && write_attribute(file, "kind", type, kind);
    H5Tclose(type);
    return good;
}

sd_status sd_hdf5_packed_finish(const char *path, sd_packed_header *h, const sd_packed_tables *tables) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    bool good = file >= 0 && write_tables_of(file, false, h, tables) &&
                (h->images[1] == 0 || write_tables_of(file, true, h, tables)) && write_classes(file, h, tables) &&
                write_floats(file, "/mean", h->mean) && write_floats(file, "/std", h->deviation) &&
                write_attributes(file, h);
    if (file >= 0)
        good = H5Fclose(file) >= 0 && good;
    return good ? SD_OK : failed(path);
}

/* ---- comparing ---- */

static bool is_there(hid_t file, const sd_packed_header *h, sd_packed_part part) {
    static const uint64_t elem_bytes[] = {0, 1, 8, 4, 1, 8, 4};
    hid_t array = H5Dopen2(file, sd_packed_path(h->kind, part), H5P_DEFAULT);
    if (array < 0)
        return h->array[part].bytes == 0;
    hid_t space = H5Dget_space(array), type = H5Dget_type(array);
    const uint64_t elems = (uint64_t)H5Sget_simple_extent_npoints(space), bytes = H5Tget_size(type);
    const bool good = H5Dget_offset(array) == h->array[part].at && elems * bytes == h->array[part].bytes &&
                      (elem_bytes[part] == 0 || elem_bytes[part] == bytes);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(array);
    return good;
}

sd_status sd_hdf5_packed_compare(const char *path, const sd_packed_header *h) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool good = file >= 0;
    for (int part = 0; good && part < SD_PACKED_PARTS; part++)
        good = is_there(file, h, (sd_packed_part)part);
    if (file >= 0)
        H5Fclose(file);
    return good ? SD_OK : sd_fail(SD_ERR_INTERNAL, "%s: HDF5 finds other arrays in it than were written", path);
}
