/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors files: refused with path and reason, or read; and then cJSON, which is another reader of the header, sees
 * the same tensors in it, their bytes are the file's, and what is written of them reads back as the same.
 *
 *     input: 0 (1 byte), the file
 *         or 1 (1 byte), bytes of data (2 bytes), the header, whose length is put before it */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "sdtrain/safetensors.h"

enum { LENGTH_BYTES = 8, PATH_BYTES = 512 };

typedef struct file {
    uint8_t *bytes;
    size_t n;
} file;

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const struct {
        uint16_t data_bytes;
        const char *header; /* its quotes single, to be read here */
    } seeds[] = {
        {0, "{}      "},
        {8, "{'a':{'dtype':'F32','shape':[2,1],'data_offsets':[0,8]}}"},
        {10, "{'__metadata__':{'format':'pt','\\u00e9\\n':''},"
             "'a':{'dtype':'F16','shape':[],'data_offsets':[8,10]},"
             "'b':{'dtype':'I64','shape':[1],'data_offsets':[0,8]},"
             "'c':{'dtype':'BF16','shape':[0,4],'data_offsets':[10,10]}} "},
        {13, "{'x.\\ud83d\\ude00':{'dtype':'F64','shape':[1,1,1,1,1,1,1,1],'data_offsets':[0,8]},"
             "'y':{'dtype':'U8','shape':[3],'data_offsets':[8,11]},"
             "'z':{'dtype':'BOOL','shape':[2],'data_offsets':[11,13]}}"},
        {27, "{'i':{'dtype':'I8','shape':[1],'data_offsets':[0,1]},"
             "'j':{'dtype':'U16','shape':[1],'data_offsets':[1,3]},"
             "'k':{'dtype':'I16','shape':[1],'data_offsets':[3,5]},"
             "'l':{'dtype':'I32','shape':[1],'data_offsets':[5,9]},"
             "'m':{'dtype':'U32','shape':[1],'data_offsets':[9,13]},"
             "'n':{'dtype':'U64','shape':[1],'data_offsets':[13,21]},"
             "'o':{'dtype':'F8_E4M3','shape':[2],'data_offsets':[21,23]},"
             "'p':{'dtype':'F4','shape':[2],'data_offsets':[23,24]},"
             "'q':{'dtype':'F6_E2M3','shape':[4],'data_offsets':[24,27]}}"},
    };
    const int seeds_n = sizeof seeds / sizeof seeds[0];
    if (i >= 2 * seeds_n)
        return false;
    const size_t header_bytes = strlen(seeds[i / 2].header), data_bytes = seeds[i / 2].data_bytes;
    uint8_t *seed = calloc(1 + LENGTH_BYTES + header_bytes + data_bytes, 1);
    if (i % 2) {
        seed[0] = 1;
        seed[1] = (uint8_t)data_bytes;
        memcpy(seed + 3, seeds[i / 2].header, header_bytes);
        *n = 3 + header_bytes;
    } else {
        seed[1] = (uint8_t)header_bytes;
        seed[2] = (uint8_t)(header_bytes >> 8);
        memcpy(seed + 1 + LENGTH_BYTES, seeds[i / 2].header, header_bytes);
        for (size_t b = 0; b < data_bytes; b++)
            seed[1 + LENGTH_BYTES + header_bytes + b] = (uint8_t)(b * 37 + 1);
        *n = 1 + LENGTH_BYTES + header_bytes + data_bytes;
    }
    for (size_t b = 0; b < *n - (i % 2 ? 0 : data_bytes); b++)
        if (seed[b] == '\'')
            seed[b] = '"';
    *bytes = seed;
    return true;
}

static file make_file(const uint8_t *bytes, size_t n) {
    file made = {.bytes = malloc(n + LENGTH_BYTES + 65536)};
    if (bytes[0] % 2 == 0 || n < 3) {
        made.n = n - 1;
        memcpy(made.bytes, bytes + 1, made.n);
        return made;
    }
    const size_t data_bytes = (size_t)(bytes[1] | bytes[2] << 8), header_bytes = n - 3;
    for (int i = 0; i < LENGTH_BYTES; i++)
        made.bytes[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    memcpy(made.bytes + LENGTH_BYTES, bytes + 3, header_bytes);
    for (size_t b = 0; b < data_bytes; b++)
        made.bytes[LENGTH_BYTES + header_bytes + b] = (uint8_t)(b * 37 + header_bytes);
    made.n = LENGTH_BYTES + header_bytes + data_bytes;
    return made;
}

/* ---- what was read is what stands there ---- */

static uint64_t number_at(const uint8_t *bytes, size_t n) {
    uint64_t number = 0;
    for (size_t i = 0; i < n; i++)
        number |= (uint64_t)bytes[i] << 8 * i;
    return number;
}

static void check_values(const sd_weight *w, const uint8_t *data) {
    const size_t bytes = sd_dtype_bits(w->dtype) / 8;
    for (size_t i = 0; w->integers && i < w->elems; i++) {
        uint64_t bits = number_at(data + i * bytes, bytes);
        if (w->dtype == SD_DTYPE_BOOL)
            bits = bits != 0;
        else if (sd_dtype_name(w->dtype)[0] == 'I' && bytes < 8 && bits >> (8 * bytes - 1))
            bits -= (uint64_t)1 << 8 * bytes;
        fuzz_require((uint64_t)w->integers[i] == bits, "%s: integer %zu", w->name, i);
    }
    for (size_t i = 0; w->dtype == SD_DTYPE_F32 && i < w->elems; i++)
        fuzz_require(!memcmp(&w->values[i], data + 4 * i, 4), "%s: value %zu", w->name, i);
    for (size_t i = 0; w->dtype == SD_DTYPE_BF16 && i < w->elems; i++)
        fuzz_require(!memcmp((const uint8_t *)&w->values[i] + 2, data + 2 * i, 2), "%s: value %zu", w->name, i);
}

static void check_tensor(const cJSON *entry, const sd_weights *weights, const uint8_t *data) {
    const sd_weight *w = sd_weights_find(weights, entry->string);
    fuzz_require(w, "%s was not read", entry->string);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype"),
                *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape"),
                *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    fuzz_require(cJSON_GetArraySize(entry) == 3 && cJSON_IsString(dtype) && cJSON_IsArray(shape) &&
                     cJSON_GetArraySize(offsets) == 2,
                 "%s is no tensor", w->name);
    fuzz_require(!strcmp(dtype->valuestring, sd_dtype_name(w->dtype)), "%s: dtype", w->name);
    fuzz_require(cJSON_GetArraySize(shape) == w->dims, "%s: dims", w->name);
    size_t elems = 1;
    for (int i = 0; i < w->dims; i++) {
        fuzz_require(cJSON_GetArrayItem(shape, i)->valuedouble == (double)w->shape[i], "%s: shape %d", w->name, i);
        elems *= w->shape[i];
    }
    const double begin = cJSON_GetArrayItem(offsets, 0)->valuedouble, end = cJSON_GetArrayItem(offsets, 1)->valuedouble;
    fuzz_require(w->elems == elems && (end - begin) * 8 == (double)elems * sd_dtype_bits(w->dtype), "%s: %zu elements",
                 w->name, w->elems);
    check_values(w, data + (size_t)begin);
}

static void check_read(const file *f, const sd_weights *weights) {
    const size_t header_bytes = (size_t)number_at(f->bytes, LENGTH_BYTES), data_at = LENGTH_BYTES + header_bytes;
    fuzz_require(data_at <= f->n, "a header longer than the file was read");
    cJSON *tree = cJSON_ParseWithLength((const char *)f->bytes + LENGTH_BYTES, header_bytes);
    fuzz_require(cJSON_IsObject(tree), "cJSON sees no object");
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(tree, "__metadata__"), *item;
    fuzz_require(weights->n + (metadata != NULL) == cJSON_GetArraySize(tree), "cJSON sees %d, not %d members",
                 cJSON_GetArraySize(tree), weights->n);
    fuzz_require(weights->n_metadata == (metadata ? cJSON_GetArraySize(metadata) : 0), "other metadata");
    size_t bits = 0;
    for (int i = 0; i < weights->n; i++) {
        fuzz_require(i == 0 || strcmp(weights->weight[i - 1].name, weights->weight[i].name) < 0,
                     "names are not in order");
        bits += weights->weight[i].elems * sd_dtype_bits(weights->weight[i].dtype);
    }
    fuzz_require(bits / 8 == f->n - data_at, "%zu bytes were read of %zu", bits / 8, f->n - data_at);
    cJSON_ArrayForEach(item, tree) if (item != metadata) check_tensor(item, weights, f->bytes + data_at);
    cJSON_ArrayForEach(item, metadata) {
        const char *value = sd_weights_metadata(weights, item->string);
        fuzz_require(value && cJSON_IsString(item) && !strcmp(value, item->valuestring), "other metadata");
    }
    cJSON_Delete(tree);
}

/* ---- what is written reads back ---- */

static bool same_weight(const sd_weight *a, const sd_weight *b) {
    if (strcmp(a->name, b->name) != 0 || a->dims != b->dims || memcmp(a->shape, b->shape, sizeof a->shape) != 0 ||
        a->elems != b->elems)
        return false;
    return a->values ? b->values && !memcmp(a->values, b->values, a->elems * sizeof *a->values)
                     : b->integers && !memcmp(a->integers, b->integers, a->elems * sizeof *a->integers);
}

static void check_written(const char *path, const sd_weights *weights) {
    sd_weights again;
    sd_weight *kept = malloc(((size_t)weights->n + 1) * sizeof *kept); /* those that can be written */
    const char **metadata = calloc(2 * (size_t)weights->n_metadata + 1, sizeof *metadata);
    int n = 0;
    for (int i = 0; i < weights->n; i++)
        if (weights->weight[i].values || weights->weight[i].integers)
            kept[n++] = weights->weight[i];
    for (int i = 0; i < weights->n_metadata; i++) {
        metadata[2 * i] = weights->metadata[i].key;
        metadata[2 * i + 1] = weights->metadata[i].value;
    }
    sd_status status = sd_safetensors_write(path, &(sd_weights){.n = n, .weight = kept}, metadata);
    fuzz_require(status == SD_OK, "cannot be written: %s", sd_error_message());
    status = sd_safetensors_read(path, &again);
    fuzz_require(status == SD_OK, "what was written is refused: %s", sd_error_message());
    fuzz_require(again.n == n && again.n_metadata == weights->n_metadata, "another number reads back");
    for (int i = 0; i < n; i++)
        fuzz_require(same_weight(&kept[i], &again.weight[i]), "%s reads back as another", kept[i].name);
    for (int i = 0; i < again.n_metadata; i++)
        fuzz_require(!strcmp(again.metadata[i].key, weights->metadata[i].key) &&
                         !strcmp(again.metadata[i].value, weights->metadata[i].value),
                     "metadata read back as others");
    sd_weights_free(&again);
    free(metadata);
    free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const sd_weights none;
    char path[PATH_BYTES];
    sd_weights weights;
    if (n < 1)
        return 0;
    file f = make_file(bytes, n);
    snprintf(path, sizeof path, "%s/model.safetensors", fuzz_folder());
    fuzz_write(path, f.bytes, f.n);
    sd_error_clear();
    const sd_status status = sd_safetensors_read(path, &weights);
    fuzz_require(status == SD_OK || (status == SD_ERR_DATA && strstr(sd_error_message(), path)), "status %d: %s",
                 (int)status, sd_error_message());
    for (const char *c = sd_error_message(); *c; c++)
        fuzz_require(*c >= ' ' && *c <= '~', "the message holds byte 0x%02x", (unsigned char)*c);
    if (status == SD_OK) {
        check_read(&f, &weights);
        check_written(path, &weights);
        sd_weights_free(&weights);
    }
    fuzz_require(!memcmp(&weights, &none, sizeof none), "something is left in weights");
    free(f.bytes);
    return 0;
}
