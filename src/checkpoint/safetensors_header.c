/* SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_header.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_text.h"
#include "sdtrain/arena.h"

enum { DTYPES = SD_DTYPE_U64 + 1 };

/* ---- one tensor ---- */

static sd_status read_dtype(sd_json *json, sd_dtype *dtype) {
    char *word, what[SD_PRINTABLE_BYTES + 64], printable[SD_PRINTABLE_BYTES];
    SD_TRY(sd_json_string(json, &word));
    for (int i = 0; i < DTYPES; i++)
        if (!strcmp(word, sd_dtype_name((sd_dtype)i))) {
            *dtype = (sd_dtype)i;
            return SD_OK;
        }
    snprintf(what, sizeof what, "'%s' is not a dtype of safetensors", sd_printable(word, printable));
    return sd_json_refuse(json, (size_t)(word - json->text), what);
}

/* At most `most` numbers in brackets. what: they are, if there are more. */
static sd_status read_numbers(sd_json *json, size_t *number, int most, const char *what, int *n) {
    bool more;
    SD_TRY(sd_json_take(json, '['));
    const size_t begin = json->at - 1;
    for (*n = 0;; (*n)++) {
        uint64_t value;
        SD_TRY(sd_json_more(json, ']', *n == 0, &more));
        if (!more)
            return SD_OK;
        if (*n == most)
            return sd_json_refuse(json, begin, what);
        SD_TRY(sd_json_natural(json, &value));
        if (value > SIZE_MAX)
            return sd_json_refuse(json, begin, "a number beyond the memory of this machine");
        number[*n] = (size_t)value;
    }
}

static sd_status read_shape(sd_json *json, sd_header_entry *entry) {
    return read_numbers(json, entry->weight.shape, SD_WEIGHT_DIMS, "a shape of more than 8 dimensions",
                        &entry->weight.dims);
}

static sd_status read_offsets(sd_json *json, sd_header_entry *entry) {
    static const char what[] = "data_offsets are two numbers, [begin, end]";
    size_t offset[2];
    int n;
    SD_TRY(read_numbers(json, offset, 2, what, &n));
    if (n != 2)
        return sd_json_refuse(json, json->at - 1, what);
    entry->begin = offset[0];
    entry->end = offset[1];
    return SD_OK;
}

/* elems, and that the bytes are as many as dtype and shape say. */
static sd_status check_bytes(const sd_json *json, sd_header_entry *entry) {
    sd_weight *weight = &entry->weight;
    size_t bits;
    bool overflow = false;
    weight->elems = 1;
    for (int i = 0; i < weight->dims; i++)
        overflow = overflow || __builtin_mul_overflow(weight->elems, weight->shape[i], &weight->elems);
    if (overflow || __builtin_mul_overflow(weight->elems, sd_dtype_bits(weight->dtype), &bits))
        return sd_json_refuse(json, entry->at, "its shape is beyond 64 bits");
    if (bits % 8 != 0)
        return sd_json_refuse(json, entry->at, "its elements do not fill whole bytes");
    if (entry->begin <= entry->end && entry->end - entry->begin == bits / 8)
        return SD_OK;
    char what[192];
    snprintf(what, sizeof what, "its data_offsets are [%zu, %zu], where its shape of %s needs %zu bytes", entry->begin,
             entry->end, sd_dtype_name(weight->dtype), bits / 8);
    return sd_json_refuse(json, entry->at, what);
}

/* {"dtype": .., "shape": .., "data_offsets": ..} in any order, each once. */
static sd_status read_entry(sd_json *json, sd_header_entry *entry) {
    static const char *const members[] = {"dtype", "shape", "data_offsets"};
    bool seen[3] = {false}, more;
    char *member;
    SD_TRY(sd_json_take(json, '{'));
    for (bool first = true;; first = false) {
        SD_TRY(sd_json_more(json, '}', first, &more));
        if (!more)
            break;
        SD_TRY(sd_json_string(json, &member));
        int i = 0;
        while (i < 3 && strcmp(member, members[i]) != 0)
            i++;
        if (i == 3 || seen[i])
            return sd_json_refuse(json, (size_t)(member - json->text),
                                  i == 3 ? "a tensor has dtype, shape and data_offsets, and no other members"
                                         : "a member is there twice");
        seen[i] = true;
        SD_TRY(sd_json_take(json, ':'));
        SD_TRY(i == 0   ? read_dtype(json, &entry->weight.dtype)
               : i == 1 ? read_shape(json, entry)
                        : read_offsets(json, entry));
    }
    for (int i = 0; i < 3; i++)
        if (!seen[i]) {
            char what[64];
            snprintf(what, sizeof what, "its %s is missing", members[i]);
            return sd_json_refuse(json, entry->at, what);
        }
    return check_bytes(json, entry);
}

/* ---- metadata ---- */

static int by_key(const void *a, const void *b) {
    return strcmp(((const sd_weights_text *)a)->key, ((const sd_weights_text *)b)->key);
}

static sd_status read_metadata(sd_json *json, sd_header *header) {
    bool more;
    SD_TRY(sd_json_take(json, '{'));
    for (bool first = true;; first = false) {
        char *key, *value;
        SD_TRY(sd_json_more(json, '}', first, &more));
        if (!more)
            break;
        SD_TRY(sd_json_string(json, &key));
        SD_TRY(sd_json_take(json, ':'));
        SD_TRY(sd_json_string(json, &value));
        SD_TRY(sd_grow(&header->metadata, header->n_metadata, &header->metadata_capacity, sizeof *header->metadata));
        header->metadata[header->n_metadata++] = (sd_weights_text){key, value};
    }
    if (header->n_metadata > 1)
        qsort(header->metadata, (size_t)header->n_metadata, sizeof *header->metadata, by_key);
    for (int i = 1; i < header->n_metadata; i++)
        if (!strcmp(header->metadata[i - 1].key, header->metadata[i].key))
            return sd_json_refuse(json, (size_t)(header->metadata[i].key - json->text),
                                  "a key of " SD_SAFETENSORS_METADATA " is there twice");
    return SD_OK;
}

/* ---- all ---- */

static sd_status read_members(sd_json *json, sd_header *header) {
    bool more, has_metadata = false;
    SD_TRY(sd_json_take(json, '{'));
    for (bool first = true;; first = false) {
        sd_header_entry entry = {0};
        char *name;
        SD_TRY(sd_json_more(json, '}', first, &more));
        if (!more)
            return sd_json_end(json);
        SD_TRY(sd_json_string(json, &name));
        entry.at = (size_t)(name - json->text);
        SD_TRY(sd_json_take(json, ':'));
        if (!strcmp(name, SD_SAFETENSORS_METADATA)) {
            if (has_metadata)
                return sd_json_refuse(json, entry.at, SD_SAFETENSORS_METADATA " is there twice");
            has_metadata = true;
            SD_TRY(read_metadata(json, header));
            continue;
        }
        entry.weight.name = json->tensor = name;
        SD_TRY(read_entry(json, &entry));
        json->tensor = NULL;
        SD_TRY(sd_grow(&header->entry, header->n, &header->capacity, sizeof *header->entry));
        header->entry[header->n++] = entry;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sd_header_entry *)a)->weight.name, ((const sd_header_entry *)b)->weight.name);
}

/* Empty tensors before the one that begins at the same byte. */
static int by_place(const void *a, const void *b) {
    const sd_header_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return by_name(a, b);
}

static sd_status check_names(sd_json *json, const sd_header *header) {
    for (int i = 1; i < header->n; i++) {
        const sd_header_entry *a = &header->entry[i - 1], *b = &header->entry[i];
        if (strcmp(a->weight.name, b->weight.name) != 0)
            continue;
        json->tensor = a->weight.name;
        return sd_json_refuse(json, a->at > b->at ? a->at : b->at, "is there twice");
    }
    return SD_OK;
}

/* Ranges, in their order, cover the data without a hole or an overlap. */
static sd_status check_cover(sd_json *json, const sd_header *header, size_t data_bytes) {
    char what[192];
    size_t covered = 0;
    for (int i = 0; i < header->n; i++) {
        const sd_header_entry *entry = &header->entry[i];
        json->tensor = entry->weight.name;
        if (entry->begin != covered) {
            snprintf(what, sizeof what, "its data begin at offset %zu, where %zu is expected (%s)", entry->begin,
                     covered, entry->begin > covered ? "a hole before it" : "it overlaps the one before");
            return sd_json_refuse(json, entry->at, what);
        }
        if (entry->end > data_bytes) {
            snprintf(what, sizeof what, "its data end at offset %zu, where the file has %zu bytes of data: it is cut",
                     entry->end, data_bytes);
            return sd_json_refuse(json, entry->at, what);
        }
        covered = entry->end;
    }
    json->tensor = NULL;
    if (covered == data_bytes)
        return SD_OK;
    snprintf(what, sizeof what, "the last tensor ends here, and %zu bytes follow", data_bytes - covered);
    return sd_json_refuse(json, json->n + covered, what);
}

sd_status sd_header_parse(const char *path, char *text, size_t n, size_t data_bytes, sd_header *header) {
    sd_json json = {.path = path, .text = text, .n = n, .first_byte = SD_SAFETENSORS_LENGTH_BYTES};
    memset(header, 0, sizeof *header);
    if (n == 0 || text[0] != '{')
        return sd_json_refuse(&json, 0, "a header begins with '{': this is not a safetensors file, or a damaged one");
    const size_t valid = sd_utf8_valid_bytes(text, n);
    if (valid < n)
        return sd_json_refuse(&json, valid, "the header is not UTF-8 here");
    SD_TRY(read_members(&json, header));
    if (header->n > 1)
        qsort(header->entry, (size_t)header->n, sizeof *header->entry, by_name);
    SD_TRY(check_names(&json, header));
    if (header->n > 1)
        qsort(header->entry, (size_t)header->n, sizeof *header->entry, by_place);
    return check_cover(&json, header, data_bytes);
}

void sd_header_free(sd_header *header) {
    free(header->entry);
    free(header->metadata);
    memset(header, 0, sizeof *header);
}
