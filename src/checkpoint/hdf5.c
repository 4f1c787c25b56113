/* SPDX-License-Identifier: Apache-2.0 */
/* Names, types and the lock, shared by writer and reader. */
#include "hdf5.h"

#include <pthread.h>

static pthread_mutex_t hdf5_mutex = PTHREAD_MUTEX_INITIALIZER;

void sd_hdf5_lock(void) { pthread_mutex_lock(&hdf5_mutex); }
void sd_hdf5_unlock(void) { pthread_mutex_unlock(&hdf5_mutex); }

hid_t sd_hdf5_text_type(size_t bytes) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

void sd_checkpoint_counter_path(const sd_tensor *tensor, char path[SD_PATH_BYTES]) {
    char name[SD_COUNTER_BYTES];
    snprintf(path, SD_PATH_BYTES, "/model/%s", sd_tensor_counter(tensor, name));
}

void sd_checkpoint_error_group(int rank, char group[SD_PATH_BYTES]) {
    snprintf(group, SD_PATH_BYTES, "/communication/error/%d", rank);
}

size_t sd_checkpoint_scratch_elems(const sd_network *network) {
    size_t most = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->elems > most)
            most = sd_network_tensor(network, i)->elems;
    return most;
}
