/* SPDX-License-Identifier: Apache-2.0 */
#include "loaded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/kernels.h"
#include "sdtrain/models.h"

/* As the configuration says; where it leaves that to the data set, as the file says; in an older one, as the kind of
 * data set has it. */
static sd_sample_spec samples_of(const sd_loaded *l) {
    const sd_data_spec data = sd_config_data(&l->config);
    sd_sample_spec samples = sd_dataset_describe(&data);
    if (l->info.classes > 0 && data.classes == 0)
        samples.classes = l->info.classes;
    if (l->info.image_size > 0 && data.image_size == 0)
        samples.image_size = l->info.image_size;
    return samples;
}

/* Builds the network and the optimizer, without state. */
static sd_status build(sd_loaded *l) {
    const sd_kernels *kernels;
    sd_config_init(&l->config);
    SD_TRY(sd_config_parse(&l->config, l->info.config, l->path));
    l->samples = samples_of(l);
    SD_TRY(sd_kernels_select(NULL, &kernels));
    const sd_model_spec spec = sd_config_model(&l->config, l->samples);
    SD_TRY(sd_model_create(&spec, kernels, 1, &l->network));
    return sd_optimizer_create(&l->config.optimizer, l->network, &l->optimizer);
}

sd_status sd_loaded_open(const char *path, sd_loaded *l) {
    *l = (sd_loaded){.path = path};
    SD_TRY(sd_checkpoint_open(path, 0, &l->file, &l->info));
    const sd_status status = build(l);
    if (status == SD_ERR_CONFIG) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s", sd_error_message());
        return sd_fail(SD_ERR_DATA, "%s: its /config describes no network of this version: %s", path, reason);
    }
    SD_TRY(status);
    return sd_checkpoint_entries(l->file, &l->entries, &l->n_entries);
}

sd_status sd_loaded_apply(sd_loaded *l) { return sd_checkpoint_apply(l->file, l->network, l->optimizer); }

void sd_loaded_close(sd_loaded *l) {
    sd_checkpoint_close(&l->file);
    sd_optimizer_destroy(&l->optimizer);
    sd_network_destroy(&l->network);
    sd_checkpoint_info_free(&l->info);
    free(l->entries);
}

bool sd_entry_is_in(const sd_entry *entry, const char *group) {
    const size_t n = strlen(group);
    return !strncmp(entry->path, group, n) && entry->path[n] == '/';
}

static const char *in_brackets(int n, const size_t *numbers, char text[96]) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, 96 - used, "%s%zu%s", i ? ", " : "[", numbers[i], i + 1 < n ? "" : "]");
    return text;
}

const char *sd_entry_shape(const sd_entry *entry, char text[96]) {
    return in_brackets(entry->dims, entry->shape, text);
}

const char *sd_entry_place(const sd_entry *entry, size_t i, char text[96]) {
    size_t place[SD_ENTRY_DIMS];
    for (int d = entry->dims - 1; d >= 0; d--) {
        place[d] = i % entry->shape[d];
        i /= entry->shape[d];
    }
    return in_brackets(entry->dims, place, text);
}

const char *sd_entry_type(const sd_entry *entry, char text[16]) {
    static const char *const names[] = {
        [SD_ENTRY_F32] = "float", [SD_ENTRY_F64] = "float", [SD_ENTRY_I64] = "int", [SD_ENTRY_U64] = "uint"};
    if (entry->kind == SD_ENTRY_TEXT)
        snprintf(text, 16, "text");
    else
        snprintf(text, 16, "%s%d", names[entry->kind], (int)(8 * entry->elem_bytes) & 0xff);
    return text;
}

double sd_entry_number(const sd_entry *entry, const void *values, size_t i) {
    switch (entry->kind) {
    case SD_ENTRY_F32:
        return (double)((const float *)values)[i];
    case SD_ENTRY_F64:
        return ((const double *)values)[i];
    case SD_ENTRY_I64:
        return (double)((const int64_t *)values)[i];
    case SD_ENTRY_U64:
        return (double)((const uint64_t *)values)[i];
    default:
        return NAN;
    }
}
