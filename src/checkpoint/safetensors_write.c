/* SPDX-License-Identifier: Apache-2.0 */
/* Writing: the file is made in memory, as the safetensors library would make it, and written whole. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elements.h"
#include "json_text.h"
#include "safetensors_header.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "sdtrain/safetensors.h"

/* ---- what may be written ---- */

static sd_dtype written_dtype(const sd_weight *weight) { return weight->values ? SD_DTYPE_F32 : SD_DTYPE_I64; }

static size_t written_bytes(const sd_weight *weight) {
    return weight->elems * sd_dtype_bits(written_dtype(weight)) / 8;
}

static bool is_utf8(const char *text) { return sd_utf8_valid_bytes(text, strlen(text)) == strlen(text); }

static bool has_shape(const sd_weight *weight) {
    size_t elems = 1;
    if (weight->dims < 0 || weight->dims > SD_WEIGHT_DIMS)
        return false;
    for (int i = 0; i < weight->dims; i++)
        if (__builtin_mul_overflow(elems, weight->shape[i], &elems))
            return false;
    return elems == weight->elems && elems <= SIZE_MAX / 64;
}

static sd_status check_weight(const char *path, const sd_weight *weight) {
    char name[SD_PRINTABLE_BYTES];
    const char *fault = !is_utf8(weight->name)                           ? "its name is not UTF-8"
                        : !strcmp(weight->name, SD_SAFETENSORS_METADATA) ? "its name is kept for metadata"
                        : !has_shape(weight)                             ? "its elems are not those of its shape"
                        : !weight->values && !weight->integers           ? "it has no values"
                                                                         : NULL;
    if (!fault)
        return SD_OK;
    return sd_fail(SD_ERR_DATA, "%s: tensor '%s' cannot be written: %s", path, sd_printable(weight->name, name), fault);
}

static sd_status check_metadata(const char *path, const char *const *metadata) {
    char key[SD_PRINTABLE_BYTES];
    for (int i = 0; metadata && metadata[i]; i += 2) {
        const char *fault = !metadata[i + 1]                                     ? "it has no value"
                            : !is_utf8(metadata[i]) || !is_utf8(metadata[i + 1]) ? "it is not UTF-8"
                                                                                 : NULL;
        for (int j = 0; !fault && j < i; j += 2)
            fault = strcmp(metadata[i], metadata[j]) != 0 ? NULL : "it is there twice";
        if (fault)
            return sd_fail(SD_ERR_DATA, "%s: metadata '%s' cannot be written: %s", path, sd_printable(metadata[i], key),
                           fault);
    }
    return SD_OK;
}

/* ---- order ---- */

/* Widest alignment first, then by name. */
static int by_dtype_and_name(const void *a, const void *b) {
    const sd_weight *x = *(const sd_weight *const *)a, *y = *(const sd_weight *const *)b;
    const int dtypes = (int)written_dtype(y) - (int)written_dtype(x);
    return dtypes ? dtypes : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const sd_weight *const *)a)->name, (*(const sd_weight *const *)b)->name);
}

/* Checks all weights and puts them in order. */
static sd_status put_in_order(const char *path, const sd_weights *weights, const sd_weight **order) {
    char name[SD_PRINTABLE_BYTES];
    const size_t n = (size_t)weights->n;
    for (size_t i = 0; i < n; i++) {
        order[i] = &weights->weight[i];
        SD_TRY(check_weight(path, order[i]));
    }
    if (n > 1)
        qsort(order, n, sizeof *order, by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(order[i - 1]->name, order[i]->name))
            return sd_fail(SD_ERR_DATA, "%s: tensor '%s' cannot be written: it is there twice", path,
                           sd_printable(order[i]->name, name));
    if (n > 1)
        qsort(order, n, sizeof *order, by_dtype_and_name);
    return SD_OK;
}

/* ---- header ---- */

/* Escapes as serde_json does: what must be, the short form where there is one. */
static void print_string(FILE *out, const char *text) {
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    fputc('"', out);
    for (const char *c = text; *c; c++) {
        const char *found = strchr(special, *c);
        if (found)
            fprintf(out, "\\%c", letters[found - special]);
        else if ((unsigned char)*c < ' ')
            fprintf(out, "\\u%04x", (unsigned)*c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void print_metadata(FILE *out, const char *const *metadata) {
    print_string(out, SD_SAFETENSORS_METADATA);
    for (int i = 0; metadata[i]; i += 2) {
        fputs(i == 0 ? ":{" : ",", out);
        print_string(out, metadata[i]);
        fputc(':', out);
        print_string(out, metadata[i + 1]);
    }
    fputc('}', out);
}

static void print_weight(FILE *out, const sd_weight *weight, size_t begin) {
    print_string(out, weight->name);
    fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", sd_dtype_name(written_dtype(weight)));
    for (int i = 0; i < weight->dims; i++)
        fprintf(out, "%s%zu", i ? "," : "", weight->shape[i]);
    fprintf(out, "],\"data_offsets\":[%zu,%zu]}", begin, begin + written_bytes(weight));
}

static void print_header(FILE *out, const sd_weight **order, int n, const char *const *metadata) {
    const bool has_metadata = metadata && metadata[0];
    size_t begin = 0;
    fputc('{', out);
    if (has_metadata)
        print_metadata(out, metadata);
    for (int i = 0; i < n; i++) {
        fputs(i == 0 && !has_metadata ? "" : ",", out);
        print_weight(out, order[i], begin);
        begin += written_bytes(order[i]);
    }
    fputc('}', out);
}

/* With the spaces behind it. Caller frees *text. */
static sd_status make_header(const char *path, const sd_weight **order, int n, const char *const *metadata, char **text,
                             size_t *n_bytes) {
    *text = NULL;
    FILE *out = open_memstream(text, n_bytes);
    if (!out)
        return sd_fail(SD_ERR_MEMORY, "out of memory: for the header of %s", path);
    print_header(out, order, n, metadata);
    const bool flushed = fflush(out) == 0; /* *n_bytes is known now */
    if (flushed)
        fprintf(out, "%*s", (int)(-*n_bytes % 8), "");
    const bool good = !ferror(out);
    if (fclose(out) != 0 || !good || !flushed)
        return sd_fail(SD_ERR_MEMORY, "out of memory: for the header of %s", path);
    if (*n_bytes > SD_SAFETENSORS_HEADER_MOST_BYTES)
        return sd_fail(SD_ERR_DATA, "%s: cannot be written: its header has %zu bytes, where at most %d are allowed",
                       path, *n_bytes, SD_SAFETENSORS_HEADER_MOST_BYTES);
    return SD_OK;
}

/* ---- file ---- */

static void put_data(const sd_weight **order, int n, unsigned char *bytes) {
    for (int i = 0; i < n; i++) {
        if (order[i]->values)
            sd_elements_from_floats(order[i]->values, order[i]->elems, bytes);
        else
            sd_elements_from_integers(order[i]->integers, order[i]->elems, bytes);
        bytes += written_bytes(order[i]);
    }
}

sd_status sd_safetensors_write(const char *path, const sd_weights *weights, const char *const *metadata) {
    const sd_weight **order = NULL;
    unsigned char *file = NULL;
    char *header = NULL;
    size_t header_bytes, bytes;
    sd_status status;
    SD_TRY_CLEANUP(check_metadata(path, metadata));
    SD_TRY_CLEANUP(sd_alloc(&order, (size_t)weights->n, sizeof *order));
    SD_TRY_CLEANUP(put_in_order(path, weights, order));
    SD_TRY_CLEANUP(make_header(path, order, weights->n, metadata, &header, &header_bytes));
    bytes = SD_SAFETENSORS_LENGTH_BYTES + header_bytes;
    for (int i = 0; i < weights->n; i++) /* they lie in memory; one array may be written under many names */
        if (__builtin_add_overflow(bytes, written_bytes(order[i]), &bytes))
            SD_TRY_CLEANUP(sd_fail(SD_ERR_MEMORY, "out of memory: %s would have more than 2^64 bytes", path));
    SD_TRY_CLEANUP(sd_alloc(&file, bytes, 1));
    sd_elements_put_u64(header_bytes, file);
    memcpy(file + SD_SAFETENSORS_LENGTH_BYTES, header, header_bytes);
    put_data(order, weights->n, file + SD_SAFETENSORS_LENGTH_BYTES + header_bytes);
    SD_TRY_CLEANUP(sd_file_write(path, file, bytes));
cleanup:
    free(file);
    free(header);
    free(order);
    return status;
}
