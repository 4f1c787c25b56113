/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the HDF5 file of a checkpoint in memory, seals it and writes it whole. */
#include <stdlib.h>
#include <string.h>

#include "hdf5.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "seal.h"

/* Writes a dataset, creating the groups of its path. False on failure. */
static bool write_array_as(hid_t file, const char *path, hid_t type, hid_t layout, int dims, const int *shape,
                           const void *data) {
    hsize_t extent[4];
    for (int i = 0; i < dims; i++)
        extent[i] = (hsize_t)shape[i];
    hid_t space = dims > 0 ? H5Screate_simple(dims, extent, NULL) : H5Screate(H5S_SCALAR);
    hid_t create_groups = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(create_groups, 1);
    hid_t dataset = H5Dcreate2(file, path, type, space, create_groups, layout, H5P_DEFAULT);
    bool good = dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (dataset >= 0)
        H5Dclose(dataset);
    H5Pclose(create_groups);
    H5Sclose(space);
    return good;
}

static bool write_array(hid_t file, const char *path, hid_t type, int dims, const int *shape, const void *data) {
    return write_array_as(file, path, type, H5P_DEFAULT, dims, shape, data);
}

static bool write_text(hid_t file, const char *path, const char *text) {
    hid_t type = sd_hdf5_text_type(strlen(text) + 1);
    bool good = write_array(file, path, type, 0, NULL, text);
    H5Tclose(type);
    return good;
}

static bool write_attribute(hid_t file, const char *name, hid_t type, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

static bool write_text_attribute(hid_t file, const char *name, const char *text) {
    hid_t type = sd_hdf5_text_type(strlen(text) + 1);
    bool good = write_attribute(file, name, type, text);
    H5Tclose(type);
    return good;
}

/* A file under construction. */
typedef struct writer {
    hid_t file;
    const sd_checkpoint_content *content;
    float *scratch; /* room for any tensor */
} writer;

enum { WORTH_COMPRESSING = 1024 }; /* elements of a tensor */

/* A dataset's creation properties: contiguous, or one compressed chunk. Caller closes. */
static hid_t layout_of(const sd_tensor *tensor, int compression) {
    hsize_t chunk[4];
    hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    if (compression == 0 || tensor->elems < WORTH_COMPRESSING)
        return layout;
    for (int i = 0; i < tensor->dims; i++)
        chunk[i] = (hsize_t)tensor->shape[i];
    H5Pset_chunk(layout, tensor->dims, chunk);
    H5Pset_shuffle(layout);
    H5Pset_deflate(layout, (unsigned)compression);
    return layout;
}

/* Writes one tensor of a buffer that is laid out like the network's, in PyTorch's layout. */
static bool write_tensor(const writer *w, const char *group, const sd_tensor *tensor, const float *buffer) {
    char path[2 * SD_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", group, tensor->name);
    sd_tensor_export(tensor, buffer + tensor->offset_elems, w->scratch);
    hid_t layout = layout_of(tensor, w->content->compression);
    bool good = write_array_as(w->file, path, H5T_NATIVE_FLOAT, layout, tensor->dims, tensor->shape, w->scratch);
    H5Pclose(layout);
    return good;
}

static bool write_model(const writer *w, const float *values, const int64_t *kept_steps) {
    const sd_network *network = w->content->network;
    bool good = true;
    for (int i = 0; good && i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        char path[SD_PATH_BYTES];
        good = write_tensor(w, "/model", tensor, values);
        if (!tensor->counted)
            continue;
        sd_checkpoint_counter_path(tensor, path);
        good = good && write_array(w->file, path, H5T_NATIVE_INT64, 0, NULL, &kept_steps[tensor->segment]);
    }
    return good;
}

/* Writes a buffer's parameters: an optimizer state, or a rank's error feedback. */
static bool write_parameters(const writer *w, const char *group, const float *buffer) {
    const sd_network *network = w->content->network;
    bool good = true;
    for (int i = 0; good && i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->kind == SD_TENSOR_PARAMETER)
            good = write_tensor(w, group, sd_network_tensor(network, i), buffer);
    return good;
}

static bool write_state(const writer *w) {
    const sd_checkpoint_content *content = w->content;
    const sd_snapshot *from = content->snapshot;
    const int segments = sd_network_n_segments(content->network);
    char group[SD_PATH_BYTES];
    bool good = write_model(w, from->values, from->kept_steps);
    for (int s = 0; good && s < from->states; s++) {
        snprintf(group, sizeof group, "/optimizer/%s", sd_optimizer_state_name(content->optimizer, s));
        good = write_parameters(w, group, from->state[s]);
    }
    for (int rank = 0; good && from->error && rank < content->info->ranks; rank++) {
        sd_checkpoint_error_group(rank, group);
        good = write_parameters(w, group, from->error + from->elems * (size_t)rank);
    }
    return good && write_array(w->file, "/optimizer/kept_steps", H5T_NATIVE_INT64, 1, &segments, from->kept_steps);
}

static bool write_info(hid_t file, const sd_checkpoint_info *info) {
    const sd_progress *progress = &info->progress;
    const int version = SD_FORMAT_VERSION, two = 2, three = 3;
    const int timing_shape[2] = {info->ranks, info->n_phases};
    const uint64_t images[2] = {info->train_images, info->validation_images},
                   samples[2] = {(uint64_t)info->image_size, (uint64_t)info->classes},
                   texts[2] = {(uint64_t)info->sequence, (uint64_t)info->vocabulary};
    bool good = true;
#define WRITE_MEMBER(type, member, initial, role)                                                                      \
    good = good &&                                                                                                     \
           write_array(file, "/progress/" #member, SD_HDF5_TYPE_OF(progress->member), 0, NULL, &progress->member);
    SD_PROGRESS_LIST(WRITE_MEMBER)
#undef WRITE_MEMBER
    return good && write_array(file, "/progress/timing", H5T_NATIVE_DOUBLE, 2, timing_shape, info->timing) &&
           write_array(file, "/data/mean", H5T_NATIVE_FLOAT, 1, &three, info->mean) &&
           write_array(file, "/data/std", H5T_NATIVE_FLOAT, 1, &three, info->deviation) &&
           write_array(file, "/data/images", H5T_NATIVE_UINT64, 1, &two, images) &&
           write_array(file, "/data/hash", H5T_NATIVE_UINT64, 0, NULL, &info->data_hash) &&
           write_array(file, "/data/samples", H5T_NATIVE_UINT64, 1, &two, samples) &&
           (!info->vocab || (write_array(file, "/data/texts", H5T_NATIVE_UINT64, 1, &two, texts) &&
                             write_text(file, "/data/vocab", info->vocab))) &&
           (!info->class_names || write_text(file, "/data/classes", info->class_names)) &&
           write_text(file, "/config", info->config) &&
           write_attribute(file, "format_version", H5T_NATIVE_INT, &version) &&
           write_attribute(file, "seed", H5T_NATIVE_UINT32, &info->seed) &&
           write_attribute(file, "ranks", H5T_NATIVE_INT, &info->ranks) &&
           write_attribute(file, "threads", H5T_NATIVE_INT, &info->threads) &&
           write_text_attribute(file, "isa", info->isa) && write_text_attribute(file, "scale", info->scale);
}

/* The HDF5 file as bytes, behind SD_SEAL_BYTES for the seal. (HDF5 looks for its superblock at 0, 512, 1024, ...: bytes
 * in front of it are a user block.) */
static bool make_image(const sd_checkpoint_content *content, float *scratch, unsigned char **image,
                       size_t *image_bytes) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in_memory = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(in_memory, SD_IMAGE_STEP_BYTES, 0);
    hid_t file = H5Fcreate("checkpoint", H5F_ACC_TRUNC, H5P_DEFAULT, in_memory);
    const writer w = {.file = file, .content = content, .scratch = scratch};
    bool good =
        file >= 0 && write_state(&w) && write_info(file, content->info) && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0;
    ssize_t bytes = good ? H5Fget_file_image(file, NULL, 0) : -1;
    *image_bytes = SD_SEAL_BYTES + (size_t)bytes;
    *image = bytes > 0 ? malloc(*image_bytes) : NULL;
    good = *image && H5Fget_file_image(file, *image + SD_SEAL_BYTES, (size_t)bytes) == bytes;
    if (file >= 0)
        H5Fclose(file);
    H5Pclose(in_memory);
    return good;
}

sd_status sd_checkpoint_save(const char *path, const sd_checkpoint_content *content) {
    float *scratch;
    unsigned char *image = NULL;
    size_t image_bytes = 0;
    SD_TRY(sd_alloc_floats(&scratch, sd_checkpoint_scratch_elems(content->network)));
    sd_hdf5_lock();
    const bool made = make_image(content, scratch, &image, &image_bytes);
    sd_hdf5_unlock();
    free(scratch);
    sd_status status;
    if (made) {
        sd_seal_make(image, image_bytes);
        status = sd_file_write(path, image, image_bytes);
    } else {
        status = sd_fail(SD_ERR_MEMORY, "%s: HDF5 could not build the checkpoint in memory", path);
    }
    free(image);
    return status;
}
