/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

const sd_source_kind *sd_source_kind_of(const sd_data_spec *spec) {
    static const sd_source_kind *const kinds[] = {
        [SD_DATASET_SYNTHETIC] = &sd_synthetic_source,
        [SD_DATASET_CIFAR10] = &sd_cifar10_source,
        [SD_DATASET_CIFAR100] = &sd_cifar100_source,
        [SD_DATASET_FOLDER] = &sd_folder_source,
        [SD_DATASET_HDF5] = &sd_packed_source,
        [SD_DATASET_TEXT] = &sd_text_source,
        [SD_DATASET_SYNTHETIC_TEXT] = &sd_synthetic_text_source,
    };
    return kinds[spec->kind];
}
