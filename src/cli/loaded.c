/* SPDX-License-Identifier: Apache-2.0 */
#include "loaded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/models.h"

/* As its configuration says, else the file; of an older one, as its data set is known. */
static sd_sample_spec samples_of(const sd_loaded *l) {
    const sd_data_spec data = sd_config_data(&l->config);
    if (l->info.classes == 0)
        return sd_dataset_describe(&data);
    return (sd_sample_spec){.image_size = data.image_size > 0 ? (int)data.image_size : l->info.image_size,
                            .sequence = l->info.sequence,
                            .vocabulary = l->info.vocabulary,
                            .classes = data.classes > 0 ? (int)data.classes : l->info.classes};
}

/* A configuration of a file is data. */
static sd_status as_data(const sd_loaded *l, sd_status status) {
    char reason[512];
    if (status != SD_ERR_CONFIG)
        return status;
    snprintf(reason, sizeof reason, "%s", sd_error_message());
    return sd_fail(SD_ERR_DATA, "%s: its /config describes no network of this version: %s", l->path, reason);
}

sd_status sd_loaded_open_file(const char *path, sd_loaded *l) {
    *l = (sd_loaded){.path = path};
    SD_TRY(sd_kernels_select(NULL, &l->kernels));
    SD_TRY(sd_checkpoint_open(path, 0, &l->file, &l->info));
    sd_config_init(&l->config);
    SD_TRY(as_data(l, sd_config_parse(&l->config, l->info.config, path)));
    l->samples = samples_of(l);
    return SD_OK;
}

static sd_status create_network(sd_loaded *l, int max_images) {
    const sd_model_spec spec = sd_config_model(&l->config, l->samples);
    return as_data(l, sd_model_create(&spec, l->kernels, max_images, &l->network));
}

sd_status sd_loaded_open(const char *path, sd_loaded *l) {
    SD_TRY(sd_loaded_open_file(path, l));
    SD_TRY(create_network(l, 1));
    SD_TRY(as_data(l, sd_optimizer_create(&l->config.optimizer, l->network, &l->optimizer)));
    return sd_checkpoint_entries(l->file, &l->entries, &l->n_entries);
}

sd_status sd_loaded_open_network(sd_loaded *l, int max_images) {
    SD_TRY(create_network(l, max_images));
    SD_TRY(sd_loaded_apply(l));
    sd_checkpoint_close(&l->file);
    return SD_OK;
}

sd_status sd_loaded_activation_bytes(const sd_loaded *l, int max_images, size_t *bytes) {
    const sd_model_spec spec = sd_config_model(&l->config, l->samples);
    sd_network *outline;
    SD_TRY(as_data(l, sd_model_outline(&spec, l->kernels, max_images, &outline)));
    *bytes = sd_network_activation_bytes(outline);
    sd_network_destroy(&outline);
    return SD_OK;
}

sd_status sd_loaded_use(const char *path, sd_status (*use)(sd_loaded *loaded, void *context), void *context) {
    static sd_loaded l; /* large */
    sd_status status = sd_loaded_open(path, &l);
    if (status == SD_OK)
        status = sd_loaded_apply(&l);
    if (status == SD_OK)
        status = use(&l, context);
    sd_loaded_close(&l);
    return status;
}

sd_status sd_loaded_apply(sd_loaded *l) { return sd_checkpoint_apply(l->file, l->network, l->optimizer); }

void sd_loaded_close(sd_loaded *l) {
    sd_checkpoint_close(&l->file);
    sd_optimizer_destroy(&l->optimizer);
    sd_network_destroy(&l->network);
    sd_network_destroy(&l->whole);
    free(l->keep);
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
