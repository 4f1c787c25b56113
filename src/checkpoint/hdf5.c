/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a checkpoint, as HDF5. All HDF5 calls of the program are in this room, behind one mutex; HDF5 sees
 * memory only. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "opened.h"
#include "sdtrain/arena.h"
#include "sdtrain/checkpoint.h"
#include "sdtrain/file.h"
#include "sdtrain/finite.h"
#include "seal.h"

enum { FORMAT_VERSION = 1, IMAGE_STEP_BYTES = 1 << 20, MAX_PATH_BYTES = 192, MAX_CONFIG_BYTES = 1 << 20 };
_Static_assert((int)SD_NAME_BYTES + 64 <= (int)MAX_PATH_BYTES && (int)MAX_PATH_BYTES <= (int)SD_ENTRY_PATH,
               "the path of a tensor is a group (/communication/error/<rank>) and its name");

static pthread_mutex_t hdf5_mutex = PTHREAD_MUTEX_INITIALIZER;

void sd_hdf5_lock(void) { pthread_mutex_lock(&hdf5_mutex); }
void sd_hdf5_unlock(void) { pthread_mutex_unlock(&hdf5_mutex); }

/* ---- writing ---- */

/* Writes one dataset; creates the groups on the way. False on failure. */
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

static hid_t text_type(size_t bytes) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static bool write_text(hid_t file, const char *path, const char *text) {
    hid_t type = text_type(strlen(text) + 1);
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
    hid_t type = text_type(strlen(text) + 1);
    bool good = write_attribute(file, name, type, text);
    H5Tclose(type);
    return good;
}

/* A file in the making. */
typedef struct writer {
    hid_t file;
    const sd_checkpoint *checkpoint;
    float *scratch; /* room for any tensor */
} writer;

enum { WORTH_COMPRESSING = 1024 }; /* values */

/* How a tensor is laid out: whole and plain, or in one compressed chunk. */
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

/* One tensor of a buffer laid out like the network's, in PyTorch's layout. */
static bool write_tensor(const writer *w, const char *group, const sd_tensor *tensor, const float *buffer) {
    char path[2 * MAX_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", group, tensor->name);
    sd_tensor_export(tensor, buffer + tensor->offset_elems, w->scratch);
    hid_t layout = layout_of(tensor, w->checkpoint->compression);
    bool good = write_array_as(w->file, path, H5T_NATIVE_FLOAT, layout, tensor->dims, tensor->shape, w->scratch);
    H5Pclose(layout);
    return good;
}

/* Of the counter behind a counted tensor: of the same layer. */
static void counter_path(const sd_tensor *tensor, char path[MAX_PATH_BYTES]) {
    const char *const dot = strrchr(tensor->name, '.');
    snprintf(path, MAX_PATH_BYTES, "/model/%.*snum_batches_tracked", dot ? (int)(dot + 1 - tensor->name) : 0,
             tensor->name);
}

static bool write_model(const writer *w, const float *values, const int64_t *kept_steps) {
    const sd_network *network = w->checkpoint->network;
    bool good = true;
    for (int i = 0; good && i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        char path[MAX_PATH_BYTES];
        good = write_tensor(w, "/model", tensor, values);
        if (!tensor->counted)
            continue;
        counter_path(tensor, path);
        good = good && write_array(w->file, path, H5T_NATIVE_INT64, 0, NULL, &kept_steps[tensor->segment]);
    }
    return good;
}

/* A buffer's learned values: of the optimizer, or an error. */
static bool write_parameters(const writer *w, const char *group, const float *buffer) {
    const sd_network *network = w->checkpoint->network;
    bool good = true;
    for (int i = 0; good && i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->kind == SD_TENSOR_PARAMETER)
            good = write_tensor(w, group, sd_network_tensor(network, i), buffer);
    return good;
}

static void error_group(int rank, char group[MAX_PATH_BYTES]) {
    snprintf(group, MAX_PATH_BYTES, "/communication/error/%d", rank);
}

static bool write_state(const writer *w, const sd_snapshot *from) {
    const sd_checkpoint *checkpoint = w->checkpoint;
    const int segments = sd_network_n_segments(checkpoint->network);
    char group[MAX_PATH_BYTES];
    bool good = write_model(w, from->values, from->kept_steps);
    for (int s = 0; good && s < from->states; s++) {
        snprintf(group, sizeof group, "/optimizer/%s", sd_optimizer_state_name(checkpoint->optimizer, s));
        good = write_parameters(w, group, from->state[s]);
    }
    for (int rank = 0; good && from->error && rank < checkpoint->ranks; rank++) {
        error_group(rank, group);
        good = write_parameters(w, group, from->error + from->elems * (size_t)rank);
    }
    return good && write_array(w->file, "/optimizer/kept_steps", H5T_NATIVE_INT64, 1, &segments, from->kept_steps);
}

static hid_t progress_uint64_t(void) { return H5T_NATIVE_UINT64; }
static hid_t progress_double(void) { return H5T_NATIVE_DOUBLE; }

static bool write_rest(hid_t file, const sd_checkpoint *checkpoint) {
    const sd_progress *progress = &checkpoint->progress;
    const int version = FORMAT_VERSION, two = 2, three = 3;
    const int timing_shape[2] = {checkpoint->ranks, checkpoint->n_phases};
    const uint64_t images[2] = {checkpoint->train_images, checkpoint->validation_images};
    bool good = true;
#define WRITE_MEMBER(type, member, initial, role)                                                                      \
    good = good && write_array(file, "/progress/" #member, progress_##type(), 0, NULL, &progress->member);
    SD_PROGRESS_LIST(WRITE_MEMBER)
#undef WRITE_MEMBER
    return good && write_array(file, "/progress/timing", H5T_NATIVE_DOUBLE, 2, timing_shape, checkpoint->timing) &&
           write_array(file, "/data/mean", H5T_NATIVE_FLOAT, 1, &three, checkpoint->mean) &&
           write_array(file, "/data/std", H5T_NATIVE_FLOAT, 1, &three, checkpoint->deviation) &&
           write_array(file, "/data/images", H5T_NATIVE_UINT64, 1, &two, images) &&
           write_array(file, "/data/hash", H5T_NATIVE_UINT64, 0, NULL, &checkpoint->data_hash) &&
           write_text(file, "/config", checkpoint->config) &&
           write_attribute(file, "format_version", H5T_NATIVE_INT, &version) &&
           write_attribute(file, "seed", H5T_NATIVE_UINT32, &checkpoint->seed) &&
           write_attribute(file, "ranks", H5T_NATIVE_INT, &checkpoint->ranks) &&
           write_attribute(file, "threads", H5T_NATIVE_INT, &checkpoint->threads) &&
           write_text_attribute(file, "isa", checkpoint->isa) && write_text_attribute(file, "scale", checkpoint->scale);
}

static size_t largest_tensor(const sd_network *network) {
    size_t most = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->elems > most)
            most = sd_network_tensor(network, i)->elems;
    return most;
}

/* The whole HDF5 file as bytes, behind room for the seal. (HDF5 looks for a file's start at 0, 512, 1024, ...: bytes
 * put in front of a finished file are a user block.) */
static bool make_image(const sd_checkpoint *checkpoint, const sd_snapshot *from, float *scratch, unsigned char **image,
                       size_t *image_bytes) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in_memory = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(in_memory, IMAGE_STEP_BYTES, 0);
    hid_t file = H5Fcreate("checkpoint", H5F_ACC_TRUNC, H5P_DEFAULT, in_memory);
    const writer w = {.file = file, .checkpoint = checkpoint, .scratch = scratch};
    bool good =
        file >= 0 && write_state(&w, from) && write_rest(file, checkpoint) && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0;
    ssize_t bytes = good ? H5Fget_file_image(file, NULL, 0) : -1;
    *image_bytes = SD_SEAL_BYTES + (size_t)bytes;
    *image = bytes > 0 ? malloc(*image_bytes) : NULL;
    good = *image && H5Fget_file_image(file, *image + SD_SEAL_BYTES, (size_t)bytes) == bytes;
    if (file >= 0)
        H5Fclose(file);
    H5Pclose(in_memory);
    return good;
}

static sd_status save(const char *path, const sd_checkpoint *checkpoint, const sd_snapshot *from, float *scratch) {
    unsigned char *image = NULL;
    size_t image_bytes = 0;
    pthread_mutex_lock(&hdf5_mutex);
    bool good = make_image(checkpoint, from, scratch, &image, &image_bytes);
    pthread_mutex_unlock(&hdf5_mutex);
    sd_status status;
    if (good) {
        sd_seal_make(image, image_bytes);
        status = sd_file_write(path, image, image_bytes);
    } else {
        status = sd_fail(SD_ERR_MEMORY, "%s: HDF5 could not build the checkpoint in memory", path);
    }
    free(image);
    return status;
}

sd_status sd_checkpoint_save(const char *path, const sd_checkpoint *checkpoint) {
    sd_snapshot now = {0};
    float *scratch = NULL;
    sd_status status = sd_alloc_floats(&scratch, largest_tensor(checkpoint->network));
    if (status == SD_OK && !checkpoint->snapshot) {
        status = sd_snapshot_create(checkpoint->network, checkpoint->optimizer, 0, &now);
        if (status == SD_OK)
            sd_snapshot_take(&now, checkpoint->network, checkpoint->optimizer);
    }
    if (status == SD_OK)
        status = save(path, checkpoint, checkpoint->snapshot ? checkpoint->snapshot : &now, scratch);
    sd_snapshot_free(&now);
    free(scratch);
    return status;
}

/* ---- reading: what has passed the gate (gate.c) ---- */

static bool holds_numbers(hid_t dataset) {
    hid_t type = H5Dget_type(dataset);
    const H5T_class_t kind = H5Tget_class(type);
    const bool good = (kind == H5T_INTEGER || kind == H5T_FLOAT) && H5Tget_size(type) <= sizeof(double);
    H5Tclose(type);
    return good;
}

/* Reads a dataset whose shape must be this; converts numbers. */
static sd_status read_array(const sd_checkpoint_file *from, const char *path, hid_t type, int dims, const int *shape,
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

/* One value, not an array of them, of a kind that converts: H5Aread would fill in all there are. */
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
    hid_t type = text_type(text_bytes);
    sd_status status = read_attribute(from, name, type, text);
    text[text_bytes - 1] = '\0';
    H5Tclose(type);
    return status;
}

static sd_status read_config(const sd_checkpoint_file *from, char **text) {
    hid_t dataset = H5Dopen2(from->file, "/config", H5P_DEFAULT);
    if (dataset < 0)
        return sd_fail(SD_ERR_DATA, "%s: /config is missing", from->path);
    hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset);
    size_t bytes = H5Tget_size(stored) + 1;
    hid_t type = text_type(bytes);
    bool is_text = H5Tget_class(stored) == H5T_STRING && H5Tis_variable_str(stored) == 0 &&
                   H5Sget_simple_extent_npoints(space) == 1 && bytes <= MAX_CONFIG_BYTES;
    sd_status status = SD_OK;
    if (!is_text)
        status = sd_fail(SD_ERR_DATA, "%s: /config is not one text", from->path);
    else
        status = sd_alloc(text, bytes, 1);
    if (status == SD_OK && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *text) < 0)
        status = sd_fail(SD_ERR_DATA, "%s: /config cannot be read", from->path);
    H5Tclose(type);
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(dataset);
    return status;
}

/* Which data it was trained on; older files do not say. */
static sd_status read_data(const sd_checkpoint_file *from, sd_checkpoint *described) {
    const int two = 2;
    uint64_t images[2] = {0};
    described->data_hash = 0;
    if (H5Lexists(from->file, "/data/hash", H5P_DEFAULT) > 0) {
        SD_TRY(read_array(from, "/data/images", H5T_NATIVE_UINT64, 1, &two, images));
        SD_TRY(read_array(from, "/data/hash", H5T_NATIVE_UINT64, 0, NULL, &described->data_hash));
    }
    described->train_images = images[0];
    described->validation_images = images[1];
    return SD_OK;
}

/* A member that is missing is younger than the file. Only step is in every file: without it this is no checkpoint of
 * a run. */
static sd_status read_progress(const sd_checkpoint_file *from, sd_progress *progress) {
    *progress = sd_progress_initial();
    SD_TRY(read_array(from, "/progress/step", H5T_NATIVE_UINT64, 0, NULL, &progress->step));
#define READ_MEMBER(type, member, initial, role)                                                                       \
    if (H5Lexists(from->file, "/progress/" #member, H5P_DEFAULT) != 0)                                                 \
        SD_TRY(read_array(from, "/progress/" #member, progress_##type(), 0, NULL, &progress->member));
    SD_PROGRESS_LIST(READ_MEMBER)
#undef READ_MEMBER
    return SD_OK;
}

/* The phases are those of the version that wrote the file. Of others only the seconds of the epoch under way are
 * lost, and count as 0. */
static sd_status read_timing(const sd_checkpoint_file *from, sd_checkpoint *described) {
    const int shape[2] = {described->ranks, described->n_phases};
    hsize_t extent[H5S_MAX_RANK] = {0};
    hid_t dataset = H5Dopen2(from->file, "/progress/timing", H5P_DEFAULT);
    hid_t space = dataset >= 0 ? H5Dget_space(dataset) : H5I_INVALID_HID;
    const bool has_other_phases = space >= 0 && H5Sget_simple_extent_dims(space, extent, NULL) == 2 &&
                                  extent[0] == (hsize_t)shape[0] && extent[1] != (hsize_t)shape[1];
    if (space >= 0)
        H5Sclose(space);
    if (dataset >= 0)
        H5Dclose(dataset);
    SD_TRY(sd_alloc(&described->timing, (size_t)shape[0] * (size_t)shape[1], sizeof(double)));
    return has_other_phases ? SD_OK
                            : read_array(from, "/progress/timing", H5T_NATIVE_DOUBLE, 2, shape, described->timing);
}

static sd_status describe(const sd_checkpoint_file *from, sd_checkpoint *described) {
    int version = 0;
    const int three = 3;
    SD_TRY(read_attribute(from, "format_version", H5T_NATIVE_INT, &version));
    if (version != FORMAT_VERSION)
        return sd_fail(SD_ERR_DATA, "%s: was written by another version (format %d, this version reads %d)", from->path,
                       version, FORMAT_VERSION);
    SD_TRY(sd_checkpoint_gate(from));
    SD_TRY(read_attribute(from, "seed", H5T_NATIVE_UINT32, &described->seed));
    SD_TRY(read_attribute(from, "ranks", H5T_NATIVE_INT, &described->ranks));
    SD_TRY(read_attribute(from, "threads", H5T_NATIVE_INT, &described->threads));
    SD_TRY(read_text_attribute(from, "isa", described->isa, sizeof described->isa));
    SD_TRY(read_text_attribute(from, "scale", described->scale, sizeof described->scale));
    SD_TRY(read_array(from, "/data/mean", H5T_NATIVE_FLOAT, 1, &three, described->mean));
    SD_TRY(read_array(from, "/data/std", H5T_NATIVE_FLOAT, 1, &three, described->deviation));
    for (int c = 0; c < three; c++)
        if (!isfinite(described->mean[c]) || !isfinite(described->deviation[c]) || !(described->deviation[c] > 0))
            return sd_fail(SD_ERR_DATA, "%s: /data/mean %g and /data/std %g of channel %d cannot be", from->path,
                           described->mean[c], described->deviation[c], c);
    SD_TRY(read_data(from, described));
    SD_TRY(read_progress(from, &described->progress));
    if (described->ranks < 1 || described->ranks > 1 << 20)
        return sd_fail(SD_ERR_DATA, "%s: %d ranks cannot be", from->path, described->ranks);
    if (described->n_phases > 0)
        SD_TRY(read_timing(from, described));
    return read_config(from, &described->config);
}

/* HDF5 takes two images of one name for the same file, and hands out the first again. */
static sd_status open_image(sd_checkpoint_file *file, size_t bytes) {
    static unsigned long opened;
    char name[64];
    snprintf(name, sizeof name, "opened-%lu", opened++);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t in_memory = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(in_memory, IMAGE_STEP_BYTES, 0);
    H5Pset_file_image(in_memory, file->bytes + SD_SEAL_BYTES, bytes - SD_SEAL_BYTES);
    file->file = H5Fopen(name, H5F_ACC_RDONLY, in_memory);
    H5Pclose(in_memory);
    return file->file >= 0 ? SD_OK : sd_fail(SD_ERR_DATA, "%s: HDF5 cannot read it", file->path);
}

sd_status sd_checkpoint_open(const char *path, sd_checkpoint_file **place, sd_checkpoint *described) {
    size_t bytes;
    SD_TRY(sd_alloc(place, 1, sizeof **place));
    sd_checkpoint_file *file = *place;
    file->file = H5I_INVALID_HID;
    file->path = strdup(path);
    sd_status status = file->path ? SD_OK : sd_fail(SD_ERR_MEMORY, "%s: out of memory", path);
    if (status == SD_OK)
        status = sd_seal_read(path, &file->bytes, &bytes);
    if (status == SD_OK) {
        file->n_bytes = bytes;
        pthread_mutex_lock(&hdf5_mutex);
        status = open_image(file, bytes);
        if (status == SD_OK)
            status = describe(file, described);
        pthread_mutex_unlock(&hdf5_mutex);
    }
    if (status != SD_OK)
        sd_checkpoint_close(place);
    return status;
}

void sd_checkpoint_close(sd_checkpoint_file **place) {
    if (!*place)
        return;
    pthread_mutex_lock(&hdf5_mutex);
    if ((*place)->file >= 0)
        H5Fclose((*place)->file);
    pthread_mutex_unlock(&hdf5_mutex);
    free((*place)->bytes);
    free((*place)->path);
    free(*place);
    *place = NULL;
}

/* buffer: NULL only checks that the tensor is there and can be read. scratch: room for any tensor. */
static sd_status read_tensor(const sd_checkpoint_file *from, const char *group, const sd_tensor *tensor, float *buffer,
                             float *scratch) {
    char path[2 * MAX_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", group, tensor->name);
    SD_TRY(read_array(from, path, H5T_NATIVE_FLOAT, tensor->dims, tensor->shape, scratch));
    if (buffer)
        sd_tensor_import(tensor, scratch, buffer + tensor->offset_elems);
    return SD_OK;
}

static sd_status read_parameters(const sd_checkpoint_file *from, const char *group, const sd_network *network,
                                 float *buffer, float *scratch) {
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->kind == SD_TENSOR_PARAMETER)
            SD_TRY(read_tensor(from, group, sd_network_tensor(network, i), buffer, scratch));
    return SD_OK;
}

/* The file must hold no tensors beside the network's. */
static sd_status check_tensor_count(const sd_checkpoint_file *from, const sd_network *network) {
    hsize_t stored = 0, expected = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        expected += sd_network_tensor(network, i)->counted ? 2 : 1;
    hid_t group = H5Gopen2(from->file, "/model", H5P_DEFAULT);
    H5G_info_t info;
    if (group >= 0 && H5Gget_info(group, &info) >= 0)
        stored = info.nlinks;
    if (group >= 0)
        H5Gclose(group);
    if (stored != expected)
        return sd_fail(SD_ERR_DATA, "%s: is of another model: it has %llu tensors, where %llu are expected", from->path,
                       (unsigned long long)stored, (unsigned long long)expected);
    return SD_OK;
}

/* Reads everything; copies it only if asked to. */
static sd_status read_all(const sd_checkpoint_file *from, sd_checkpoint *checkpoint, float *scratch, bool copy) {
    sd_network *network = checkpoint->network;
    const int tensors = sd_network_n_tensors(network), segments = sd_network_n_segments(network);
    for (int i = 0; i < tensors; i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        SD_TRY(read_tensor(from, "/model", tensor, copy ? sd_network_values(network) : NULL, scratch));
        if (!sd_all_finite(scratch, tensor->elems)) /* never saved so */
            return sd_fail(SD_ERR_DATA, "%s: /model/%s has values that are not finite", from->path, tensor->name);
    }
    int64_t kept_steps[segments];
    SD_TRY(read_array(from, "/optimizer/kept_steps", H5T_NATIVE_INT64, 1, &segments, kept_steps));
    for (int i = 0; copy && i < segments; i++)
        sd_network_set_kept_steps(network, i, kept_steps[i]);
    for (int s = 0; checkpoint->optimizer && s < sd_optimizer_n_states(checkpoint->optimizer); s++) {
        float *state = copy ? sd_optimizer_state(checkpoint->optimizer, s) : NULL;
        char name[MAX_PATH_BYTES];
        snprintf(name, sizeof name, "/optimizer/%s", sd_optimizer_state_name(checkpoint->optimizer, s));
        SD_TRY(read_parameters(from, name, network, state, scratch));
    }
    return SD_OK;
}

/* Nothing is half-used: all is read once to see that it can be, then copied. */
static sd_status apply(const sd_checkpoint_file *from, sd_checkpoint *checkpoint, float *scratch) {
    SD_TRY(read_all(from, checkpoint, scratch, false));
    SD_TRY(check_tensor_count(from, checkpoint->network));
    return read_all(from, checkpoint, scratch, true);
}

sd_status sd_checkpoint_apply(sd_checkpoint_file *file, sd_checkpoint *checkpoint) {
    float *scratch;
    SD_TRY(sd_alloc_floats(&scratch, largest_tensor(checkpoint->network)));
    pthread_mutex_lock(&hdf5_mutex);
    sd_status status = apply(file, checkpoint, scratch);
    pthread_mutex_unlock(&hdf5_mutex);
    free(scratch);
    return status;
}

sd_status sd_checkpoint_read_error(sd_checkpoint_file *file, const sd_network *network, int rank, float *error) {
    float *scratch;
    char group[MAX_PATH_BYTES];
    error_group(rank, group);
    SD_TRY(sd_alloc_floats(&scratch, largest_tensor(network)));
    pthread_mutex_lock(&hdf5_mutex);
    sd_status status = read_parameters(file, group, network, error, scratch);
    pthread_mutex_unlock(&hdf5_mutex);
    free(scratch);
    return status;
}
