/* SPDX-License-Identifier: Apache-2.0 */
/* The content of a checkpoint as one JSON object; NAN becomes null. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "survey.h"

static void add_number(cJSON *object, const char *name, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, name, value);
    else
        cJSON_AddNullToObject(object, name);
}

static void add_model(cJSON *root, const sd_loaded *l) {
    cJSON *model = cJSON_AddObjectToObject(root, "model");
    cJSON_AddStringToObject(model, "name", l->config.model.name);
    add_number(model, "parameters", (double)sd_network_parameters(l->network));
    add_number(model, "classes", l->samples.classes);
    add_number(model, "image_size", l->samples.image_size);
}

static void add_progress(cJSON *root, const sd_progress *p) {
    cJSON *progress = cJSON_AddObjectToObject(root, "progress");
#define ADD_MEMBER(type, member, initial, role) add_number(progress, #member, (double)p->member);
    SD_PROGRESS_LIST(ADD_MEMBER)
#undef ADD_MEMBER
}

static sd_status add_drop(cJSON *root, const sd_loaded *l) {
    double *rate;
    SD_TRY(sd_rates_of(l, &rate));
    cJSON *drop = cJSON_AddObjectToObject(root, "stochastic_depth");
    for (int i = 0; i < sd_n_drop_keys; i++) {
        char key[64], value[64];
        snprintf(key, sizeof key, "stochastic_depth.%s", sd_drop_keys[i]);
        sd_config_value(&l->config, key, value, sizeof value);
        if (!strcmp(sd_drop_keys[i], "rate"))
            add_number(drop, "rate", l->config.stochastic_depth.rate);
        else if (!strcmp(sd_drop_keys[i], "min_kept"))
            add_number(drop, "min_kept", (double)l->config.stochastic_depth.min_kept);
        else
            cJSON_AddStringToObject(drop, sd_drop_keys[i], value);
    }
    cJSON *units = cJSON_AddArrayToObject(drop, "rates");
    for (int i = 0; i < sd_network_n_units(l->network); i++) {
        const sd_unit *unit = sd_network_unit(l->network, i);
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "name", unit->name);
        add_number(object, "depth", unit->depth);
        add_number(object, "drop_rate", rate[i]);
        cJSON_AddItemToArray(units, object);
    }
    free(rate);
    return SD_OK;
}

static void add_groups(cJSON *root, const sd_loaded *l) {
    sd_group groups[SD_MAX_GROUPS];
    const int n = sd_groups_of(l, groups);
    cJSON *array = cJSON_AddArrayToObject(root, "groups");
    for (int i = 0; i < n; i++) {
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "name", groups[i].name);
        add_number(object, "bytes", (double)groups[i].bytes);
        add_number(object, "datasets", groups[i].datasets);
        cJSON_AddItemToArray(array, object);
    }
}

static sd_status add_tensors(cJSON *root, const sd_loaded *l) {
    cJSON *array = cJSON_AddArrayToObject(root, "tensors");
    for (int i = 0; i < l->n_entries; i++) {
        const sd_entry *entry = &l->entries[i];
        sd_moments m;
        char type[16];
        if (!sd_entry_is_in(entry, "/model"))
            continue;
        SD_TRY(sd_moments_of(l, entry, &m));
        cJSON *object = cJSON_CreateObject(), *shape;
        cJSON_AddStringToObject(object, "name", entry->path + strlen("/model/"));
        cJSON_AddStringToObject(object, "type", sd_entry_type(entry, type));
        shape = cJSON_AddArrayToObject(object, "shape");
        for (int d = 0; d < entry->dims; d++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)entry->shape[d]));
        add_number(object, "min", m.min);
        add_number(object, "max", m.max);
        add_number(object, "mean", m.mean);
        add_number(object, "l2", m.l2);
        cJSON_AddItemToArray(array, object);
    }
    return SD_OK;
}

static sd_status add_attributes(cJSON *root, const sd_loaded *l) {
    for (int i = 0; i < l->n_entries; i++) {
        const sd_entry *entry = &l->entries[i];
        void *value;
        if (entry->path[0] == '/')
            continue;
        SD_TRY(sd_checkpoint_read(l->file, entry, &value));
        if (entry->kind == SD_ENTRY_TEXT)
            cJSON_AddStringToObject(root, entry->path, value);
        else if (entry->kind == SD_ENTRY_I64 || entry->kind == SD_ENTRY_U64)
            add_number(root, entry->path, (double)*(const int64_t *)value);
        free(value);
    }
    return SD_OK;
}

static sd_status fill(cJSON *root, const sd_loaded *l) {
    cJSON_AddStringToObject(root, "file", l->path);
    add_number(root, "bytes", (double)sd_checkpoint_file_bytes(l->file));
    SD_TRY(add_attributes(root, l));
    add_model(root, l);
    SD_TRY(add_drop(root, l));
    add_progress(root, &l->info.progress);
    cJSON *data = cJSON_AddObjectToObject(root, "data");
    if (l->info.vocab) {
        add_number(data, "sequence", l->info.sequence);
        add_number(data, "vocabulary", l->info.vocabulary);
    } else {
        cJSON *mean = cJSON_AddArrayToObject(data, "mean"), *deviation = cJSON_AddArrayToObject(data, "std");
        for (int c = 0; c < 3; c++) {
            cJSON_AddItemToArray(mean, cJSON_CreateNumber((double)l->info.mean[c]));
            cJSON_AddItemToArray(deviation, cJSON_CreateNumber((double)l->info.deviation[c]));
        }
    }
    add_groups(root, l);
    SD_TRY(add_tensors(root, l));
    cJSON_AddStringToObject(root, "config", l->info.config);
    return SD_OK;
}

sd_status sd_inspect_json(const sd_loaded *l) {
    cJSON *root = cJSON_CreateObject();
    sd_status status =
        root ? fill(root, l) : sd_fail(SD_ERR_MEMORY, "out of memory for the description of %s", l->path);
    char *text = status == SD_OK ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (status == SD_OK && !text)
        status = sd_fail(SD_ERR_MEMORY, "out of memory for the description of %s", l->path);
    if (text)
        puts(text);
    free(text);
    return status;
}
