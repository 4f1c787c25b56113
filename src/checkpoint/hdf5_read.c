/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a file in memory, passes it through the gate (gate.c), and reads its sd_checkpoint_info. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hdf5.h"
#include "sdtrain/arena.h"
#include "seal.h"

enum {
    MAX_CONFIG_BYTES = 1 << 20,
    MAX_CLASSES_BYTES = 1 << 26,
    MAX_VOCABULARY_BYTES = 1 << 26,
    MAX_IMAGE_SIZE = 1 << 16,
    MAX_SEQUENCE = 1 << 16,
    MAX_CLASSES = 1 << 24
};

static bool holds_numbers(hid_t dataset) {
    hid_t type = H5Dget_type(dataset);
    const H5T_class_t kind = H5Tget_class(type);
    const bool good = (kind == H5T_INTEGER || kind == H5T_FLOAT) && H5Tget_size(type) <= sizeof(double);
    H5Tclose(type);
    return good;
}

sd_status sd_hdf5_read_array(const sd_checkpoint_file *from, const char *path, hid_t type, int dims, const int *shape,
                             void *data) {
    sd_status status = SD_OK;
    hid_t dataset = H5Dopen2(from->file, path, H5P_DEFAULT);
    if (dataset < 0)
        return sd_fail(SD_ERR_DATA, "%s: has no %s: it is of another model or version", from->path, path);
    hid_t space = H5Dget_space(dataset);
    hsize_t extent[H5S_MAX_RANK] = {0};
    bool fits = H5Sget_simple_extent_dims(space, extent, NULL) == dims;
    for (int i = 0; fits && i < dims; i++)
        fits = extent[i] == (hsize_t)shape[i];
    if (!fits) {
        int have = H5Sget_simple_extent_ndims(space);
        status = sd_fail(SD_ERR_DATA,
                         "%s: is of another model: %s has %d dimensions [%llu, %llu, ...], where [%d, %d, ...] of %d "
                         "are expected",
                         from->path, path, have, (unsigned long long)extent[0], (unsigned long long)extent[1],
                         dims > 0 ? shape[0] : 0, dims > 1 ? shape[1] : 0, dims);
    } else if (!holds_numbers(dataset)) {
        status = sd_fail(SD_ERR_DATA, "%s: %s does not hold numbers", from->path, path);
    } else if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        status = sd_fail(SD_ERR_DATA, "%s: %s cannot be read", from->path, path);
    }
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

/* Reads a scalar of a convertible type; refuses arrays, which H5Aread would write in full. */
static sd_status read_attribute(const sd_checkpoint_file *from, const char *name, hid_t type, void *value) {
    hid_t attribute = H5Aopen(from->file, name, H5P_DEFAULT);
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : H5I_INVALID_HID;
    bool good = space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, type, value) >= 0;
    if (space >= 0)
        H5Sclose(space);
    if (attribute >= 0)
        H5Aclose(attribute);
    return good ? SD_OK : sd_fail(SD_ERR_DATA, "%s: the attribute %s is missing or not one value", from->path, name);
}

static sd_status read_text_attribute(const sd_checkpoint_file *from, const char *name, char *text, size_t text_bytes) {
    hid_t type = sd_hdf5_text_type(text_bytes);
    sd_status status = read_attribute(from, name, type, text);
    text[text_bytes - 1] = '\0';
    H5Tclose(type);
    return status;
}

/* Caller frees *text. */
static sd_status read_text(const sd_checkpoint_file *from, const char *path, size_t most_bytes, char **text) {
    hid_t dataset = H5Dopen2(from->file, path, H5P_DEFAULT);
    if (dataset < 0)
        return sd_fail(SD_ERR_DATA, "%s: %s is missing", from->path, path);
    hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset);
    size_t bytes = H5Tget_size(stored) + 1;
    hid_t type = sd_hdf5_text_type(bytes);
    bool is_text = H5Tget_class(stored) == H5T_STRING && H5Tis_variable_str(stored) == 0 &&
                   H5Sget_simple_extent_npoints(space) == 1 && bytes <= most_bytes;
    sd_status status = SD_OK;
    if (!is_text)
        status = sd_fail(SD_ERR_DATA, "%s: %s is not one text", from->path, path);
    else
        status = sd_alloc(text, bytes, 1);
    if (status == SD_OK && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *text) < 0)
        status = sd_fail(SD_ERR_DATA, "%s: %s cannot be read", from->path, path);
    H5Tclose(type);
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(dataset);
    return status;
}

/* Reads the data set's numbers, which older files lack. */
static sd_status read_data(const sd_checkpoint_file *from, sd_checkpoint_info *info) {
    const int two = 2;
    uint64_t images[2] = {0}, samples[2] = {0}, texts[2] = {0};
    info->data_hash = 0;
    if (H5Lexists(from->file, "/data/hash", H5P_DEFAULT) > 0) {
        SD_TRY(sd_hdf5_read_array(from, "/data/images", H5T_NATIVE_UINT64, 1, &two, images));
        SD_TRY(sd_hdf5_read_array(from, "/data/hash", H5T_NATIVE_UINT64, 0, NULL, &info->data_hash));
    }
    if (H5Lexists(from->file, "/data/samples", H5P_DEFAULT) > 0) {
        SD_TRY(sd_hdf5_read_array(from, "/data/samples", H5T_NATIVE_UINT64, 1, &two, samples));
        if (samples[0] > MAX_IMAGE_SIZE || samples[1] > MAX_CLASSES)
            return sd_fail(SD_ERR_DATA, "%s: /data/samples: images of %llu pixels in %llu classes cannot be",
                           from->path, (unsigned long long)samples[0], (unsigned long long)samples[1]);
    }
    if (H5Lexists(from->file, "/data/classes", H5P_DEFAULT) > 0)
        SD_TRY(read_text(from, "/data/classes", MAX_CLASSES_BYTES, &info->class_names));
    if (H5Lexists(from->file, "/data/vocab", H5P_DEFAULT) > 0) {
        SD_TRY(sd_hdf5_read_array(from, "/data/texts", H5T_NATIVE_UINT64, 1, &two, texts));
        SD_TRY(read_text(from, "/data/vocab", MAX_VOCABULARY_BYTES, &info->vocab));
        if (texts[0] > MAX_SEQUENCE || texts[1] > MAX_VOCABULARY_BYTES)
            return sd_fail(SD_ERR_DATA, "%s: /data/texts: texts of %llu ids of %llu cannot be", from->path,
                           (unsigned long long)texts[0], (unsigned long long)texts[1]);
    }
    info->sequence = (int)texts[0];
    info->vocabulary = (int)texts[1];
    info->image_size = (int)samples[0];
    info->classes = (int)samples[1];
    info->train_images = images[0];
    info->validation_images = images[1];
    return SD_OK;
}

/* A missing member is newer than the file and keeps its initial value; but every file has step. */
static sd_status read_progress(const sd_checkpoint_file *from, sd_progress *progress) {
    *progress = sd_progress_initial();
    SD_TRY(sd_hdf5_read_array(from, "/progress/step", H5T_NATIVE_UINT64, 0, NULL, &progress->step));
#define READ_MEMBER(type, member, initial, role)                                                                       \
    if (H5Lexists(from->file, "/progress/" #member, H5P_DEFAULT) != 0)                                                 \
        SD_TRY(sd_hdf5_read_array(from, "/progress/" #member, SD_HDF5_TYPE_OF(progress->member), 0, NULL,              \
                                  &progress->member));
    SD_PROGRESS_LIST(READ_MEMBER)
#undef READ_MEMBER
    return SD_OK;
}

/* If the file has another number of phases (another version wrote it), the seconds of the current epoch count as 0. */
static sd_status read_timing(const sd_checkpoint_file *from, sd_checkpoint_info *info) {
    const int shape[2] = {info->ranks, info->n_phases};
    hsize_t extent[H5S_MAX_RANK] = {0};
    hid_t dataset = H5Dopen2(from->file, "/progress/timing", H5P_DEFAULT);
    hid_t space = dataset >= 0 ? H5Dget_space(dataset) : H5I_INVALID_HID;
    const bool has_other_phases = space >= 0 && H5Sget_simple_extent_dims(space, extent, NULL) == 2 &&
                                  extent[0] == (hsize_t)shape[0] && extent[1] != (hsize_t)shape[1];
    if (space >= 0)
        H5Sclose(space);
    if (dataset >= 0)
        H5Dclose(dataset);
    SD_TRY(sd_alloc(&info->timing, (size_t)shape[0] * (size_t)shape[1], sizeof(double)));
    return has_other_phases ? SD_OK
                            : sd_hdf5_read_array(from, "/progress/timing", H5T_NATIVE_DOUBLE, 2, shape, info->timing);
}

/* Of images; texts have none. */
static sd_status check_normalisation(const sd_checkpoint_file *from, const sd_checkpoint_info *info) {
    for (int c = 0; c < 3 && info->sequence == 0; c++)
        if (!isfinite(info->mean[c]) || !isfinite(info->deviation[c]) || !(info->deviation[c] > 0))
            return sd_fail(SD_ERR_DATA, "%s: /data/mean %g and /data/std %g of channel %d cannot be", from->path,
                           info->mean[c], info->deviation[c], c);
    return SD_OK;
}

static sd_status describe(const sd_checkpoint_file *from, sd_checkpoint_info *info) {
    int version = 0;
    const int three = 3;
    SD_TRY(read_attribute(from, "format_version", H5T_NATIVE_INT, &version));
    if (version != SD_FORMAT_VERSION)
        return sd_fail(SD_ERR_DATA, "%s: was written by another version (format %d, this version reads %d)", from->path,
                       version, SD_FORMAT_VERSION);
    SD_TRY(sd_checkpoint_gate(from));
    SD_TRY(read_attribute(from, "seed", H5T_NATIVE_UINT32, &info->seed));
    SD_TRY(read_attribute(from, "ranks", H5T_NATIVE_INT, &info->ranks));
    SD_TRY(read_attribute(from, "threads", H5T_NATIVE_INT, &info->threads));
    SD_TRY(read_text_attribute(from, "isa", info->isa, sizeof info->isa));
    SD_TRY(read_text_attribute(from, "scale", info->scale, sizeof info->scale));
    SD_TRY(sd_hdf5_read_array(from, "/data/mean", H5T_NATIVE_FLOAT, 1, &three, info->mean));
    SD_TRY(sd_hdf5_read_array(from, "/data/std", H5T_NATIVE_FLOAT, 1, &three, info->deviation));
    SD_TRY(read_data(from, info));
    SD_TRY(check_normalisation(from, info));
    SD_TRY(read_progress(from, &info->progress));
    if (info->ranks < 1 || info->ranks > 1 << 20)
        return sd_fail(SD_ERR_DATA, "%s: %d ranks cannot be", from->path, info->ranks);
    if (info->n_phases > 0)
        SD_TRY(read_timing(from, info));
    return read_text(from, "/config", MAX_CONFIG_BYTES, &info->config);
}

/* A unique name for each image: HDF5 would take two images of one name for the same file. */
static sd_status open_image(sd_checkpoint_file *file, size_t bytes) {
    static unsigned long opened;
    char name[64];
    snprintf(name, sizeof name, "opened-%lu", opened++);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in_memory = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(in_memory, SD_IMAGE_STEP_BYTES, 0);
    H5Pset_file_image(in_memory, file->bytes + SD_SEAL_BYTES, bytes - SD_SEAL_BYTES);
    file->file = H5Fopen(name, H5F_ACC_RDONLY, in_memory);
    H5Pclose(in_memory);
    return file->file >= 0 ? SD_OK : sd_fail(SD_ERR_DATA, "%s: HDF5 cannot read it", file->path);
}

sd_status sd_checkpoint_open(const char *path, int n_phases, sd_checkpoint_file **place, sd_checkpoint_info *info) {
    size_t bytes;
    *info = (sd_checkpoint_info){.n_phases = n_phases};
    SD_TRY(sd_alloc(place, 1, sizeof **place));
    sd_checkpoint_file *file = *place;
    file->file = H5I_INVALID_HID;
    file->path = strdup(path);
    sd_status status = file->path ? SD_OK : sd_fail(SD_ERR_MEMORY, "%s: out of memory", path);
    if (status == SD_OK)
        status = sd_seal_read(path, &file->bytes, &bytes);
    if (status == SD_OK) {
        file->n_bytes = bytes;
        sd_hdf5_lock();
        status = open_image(file, bytes);
        if (status == SD_OK)
            status = describe(file, info);
        sd_hdf5_unlock();
    }
    if (status != SD_OK)
        sd_checkpoint_close(place);
    return status;
}

void sd_checkpoint_close(sd_checkpoint_file **place) {
    if (!*place)
        return;
    sd_hdf5_lock();
    if ((*place)->file >= 0)
        H5Fclose((*place)->file);
    sd_hdf5_unlock();
    free((*place)->bytes);
    free((*place)->path);
    free(*place);
    *place = NULL;
}

void sd_checkpoint_info_free(sd_checkpoint_info *info) {
    free(info->config);
    free(info->class_names);
    free(info->vocab);
    free(info->timing);
    *info = (sd_checkpoint_info){0};
}
