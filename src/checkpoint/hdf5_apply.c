/* SPDX-License-Identifier: Apache-2.0 */
/* Copies the tensors of an opened file into a network and its optimizer. */
#include <stdlib.h>

#include "hdf5.h"
#include "sdtrain/arena.h"
#include "sdtrain/finite.h"

/* buffer: NULL only checks that the tensor can be read. scratch: room for any tensor. */
static sd_status read_tensor(const sd_checkpoint_file *from, const char *group, const sd_tensor *tensor, float *buffer,
                             float *scratch) {
    char path[2 * SD_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", group, tensor->name);
    SD_TRY(sd_hdf5_read_array(from, path, H5T_NATIVE_FLOAT, tensor->dims, tensor->shape, scratch));
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

/* SD_ERR_DATA if the file has tensors that the network lacks. */
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

/* The network and optimizer that are read into. */
typedef struct target {
    sd_network *network;
    sd_optimizer *optimizer; /* NULL: not read */
} target;

/* Reads all tensors, and copies them if `copy`. */
static sd_status read_all(const sd_checkpoint_file *from, const target *to, float *scratch, bool copy) {
    sd_network *network = to->network;
    const int tensors = sd_network_n_tensors(network), segments = sd_network_n_segments(network);
    for (int i = 0; i < tensors; i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        SD_TRY(read_tensor(from, "/model", tensor, copy ? sd_network_values(network) : NULL, scratch));
        if (!sd_all_finite(scratch, tensor->elems)) /* no save writes such values */
            return sd_fail(SD_ERR_DATA, "%s: /model/%s has values that are not finite", from->path, tensor->name);
    }
    int64_t kept_steps[segments];
    SD_TRY(sd_hdf5_read_array(from, "/optimizer/kept_steps", H5T_NATIVE_INT64, 1, &segments, kept_steps));
    for (int i = 0; copy && i < segments; i++)
        sd_network_set_kept_steps(network, i, kept_steps[i]);
    for (int s = 0; to->optimizer && s < sd_optimizer_n_states(to->optimizer); s++) {
        float *state = copy ? sd_optimizer_state(to->optimizer, s) : NULL;
        char name[SD_PATH_BYTES];
        snprintf(name, sizeof name, "/optimizer/%s", sd_optimizer_state_name(to->optimizer, s));
        SD_TRY(read_parameters(from, name, network, state, scratch));
    }
    return SD_OK;
}

/* All or nothing: a first pass reads everything, a second one copies. */
static sd_status apply(const sd_checkpoint_file *from, const target *to, float *scratch) {
    SD_TRY(read_all(from, to, scratch, false));
    SD_TRY(check_tensor_count(from, to->network));
    return read_all(from, to, scratch, true);
}

sd_status sd_checkpoint_apply(const sd_checkpoint_file *file, sd_network *network, sd_optimizer *optimizer) {
    const target to = {network, optimizer};
    float *scratch;
    SD_TRY(sd_alloc_floats(&scratch, sd_checkpoint_scratch_elems(network)));
    sd_hdf5_lock();
    sd_status status = apply(file, &to, scratch);
    sd_hdf5_unlock();
    free(scratch);
    return status;
}

sd_status sd_checkpoint_read_error(const sd_checkpoint_file *file, const sd_network *network, int rank, float *error) {
    float *scratch;
    char group[SD_PATH_BYTES];
    sd_checkpoint_error_group(rank, group);
    SD_TRY(sd_alloc_floats(&scratch, sd_checkpoint_scratch_elems(network)));
    sd_hdf5_lock();
    sd_status status = read_parameters(file, group, network, error, scratch);
    sd_hdf5_unlock();
    free(scratch);
    return status;
}
