/* SPDX-License-Identifier: Apache-2.0 */
/* Images of a packed set, read where they lie when a batch wants them. */
#include "packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "sdtrain/arena.h"
#include "sdtrain/hash.h"

typedef struct packed {
    sd_source source;
    sd_packed_header header;
    sd_packed_tables tables;
    char *path;
    int fd;
} packed;

/* ---- what is found: the header ---- */

typedef struct packed_found {
    sd_found found;
    unsigned char header[SD_PACKED_HEADER_BYTES];
} packed_found;

static sd_status find(const sd_data_spec *spec, sd_found **found) {
    sd_packed_header header;
    packed_found *made;
    int fd;
    SD_TRY(sd_packed_open(spec->path, &fd, &header));
    close(fd);
    SD_TRY(sd_alloc(&made, 1, sizeof *made));
    made->found = (sd_found){SD_FOUND_PACKED, sizeof *made};
    sd_packed_header_write(&header, made->header);
    *found = &made->found;
    return SD_OK;
}

/* False: nothing was found. */
static bool get_found(const sd_data_spec *spec, sd_packed_header *header) {
    if (!spec->found || spec->found->format != SD_FOUND_PACKED)
        return false;
    sd_packed_header_get(((const packed_found *)spec->found)->header, header);
    return true;
}

sd_status sd_packed_found_of_bytes(void *bytes, size_t n_bytes, sd_found **found) {
    packed_found *made = bytes;
    sd_packed_header header;
    if (n_bytes != sizeof *made || made->found.bytes != n_bytes)
        return sd_fail(SD_ERR_DATA, "the header of a packed set has %zu bytes", n_bytes);
    sd_packed_header_get(made->header, &header);
    SD_TRY(sd_packed_header_read("a packed set", made->header, sizeof made->header, header.file_bytes, &header));
    *found = &made->found;
    return SD_OK;
}

static sd_sample_spec samples_of(const sd_packed_header *h) {
    return (sd_sample_spec){.image_size = h->height == h->width ? (int)h->height : 0, .classes = (int)h->classes};
}

/* With nothing found, as of a checkpoint's configuration, the classes that this says. */
static sd_sample_spec describe(const sd_data_spec *spec) {
    sd_packed_header header;
    return get_found(spec, &header) ? samples_of(&header) : (sd_sample_spec){.classes = (int)spec->classes};
}

/* ---- reading ---- */

static sd_status read_pixels(const packed *data, bool test, uint32_t index, sd_sample *sample) {
    const sd_packed_header *h = &data->header;
    const size_t bytes = (size_t)h->height * h->width * SD_CHANNELS;
    SD_TRY(sd_sample_resize(sample, (int)h->height, (int)h->width));
    return sd_packed_read(data->fd, data->path, sample->pixels, bytes,
                          h->array[sd_packed_part_of(SD_PACKED_IMAGES, test)].at + index * (uint64_t)bytes);
}

static sd_status read_encoded(const packed *data, bool test, uint32_t index, sd_sample *sample) {
    const uint64_t *at = data->tables.offsets[test] + index, in_file = at[0];
    const size_t n_bytes = (size_t)(at[1] - at[0]);
    char name[4096 + 64];
    uint8_t *bytes;
    sd_image image;
    snprintf(name, sizeof name, "%s: %s image %u", data->path, test ? "/val" : "/train", index);
    SD_TRY(sd_alloc(&bytes, n_bytes, 1));
    sd_status status = sd_packed_read(data->fd, data->path, bytes, n_bytes,
                                      data->header.array[sd_packed_part_of(SD_PACKED_IMAGES, test)].at + in_file);
    if (status == SD_OK)
        status = sd_image_decode(name, bytes, n_bytes, &image);
    free(bytes);
    SD_TRY(status);
    sd_sample_adopt(sample, &image);
    return SD_OK;
}

static sd_status read_image(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    const packed *data = (const packed *)source;
    SD_TRY(data->header.kind == SD_PACKED_ENCODED ? read_encoded(data, test, index, sample)
                                                  : read_pixels(data, test, index, sample));
    sample->label = data->tables.labels[test][index];
    return SD_OK;
}

static const char *class_name(const sd_source *source, int label) {
    const sd_packed_tables *tables = &((const packed *)source)->tables;
    return tables->names + (size_t)label * tables->name_bytes;
}

/* ---- opening ---- */

/* Of the content, wherever its arrays lie. */
static uint64_t hash_of(const sd_packed_header *h) {
    const uint64_t numbers[] = {h->kind, h->height, h->width, h->classes, h->images[0], h->images[1]};
    uint64_t hash = sd_hash(numbers, sizeof numbers);
    for (int i = 0; i < SD_PACKED_PARTS; i++) {
        const uint64_t row[] = {hash, sd_hash(h->array[i].digest, SD_PACKED_DIGEST_BYTES)};
        hash = sd_hash(row, sizeof row);
    }
    return hash;
}

static void close_packed(sd_source *source) {
    packed *data = (packed *)source;
    if (data->fd >= 0)
        close(data->fd);
    sd_packed_tables_free(&data->tables);
    free(data->path);
    free(data);
}

static sd_status load(const sd_data_spec *spec, packed *data) {
    sd_packed_header found, *h = &data->header;
    if (!get_found(spec, &found))
        return sd_fail(SD_ERR_INTERNAL, "%s: the packed set was not found before it was opened", spec->path);
    data->path = strdup(spec->path);
    if (!data->path)
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory", spec->path);
    SD_TRY(sd_packed_open(spec->path, &data->fd, h));
    if (hash_of(h) != hash_of(&found))
        return sd_fail(SD_ERR_DATA, "%s: is another packed set than the one that was found under this name",
                       spec->path);
    return sd_packed_tables_read(data->fd, data->path, h, &data->tables);
}

static sd_status open_packed(const sd_data_spec *spec, sd_source **source) {
    packed *data;
    SD_TRY(sd_alloc(&data, 1, sizeof *data));
    data->fd = -1;
    const sd_status status = load(spec, data);
    if (status != SD_OK) {
        close_packed(&data->source);
        return status;
    }
    const sd_packed_header *h = &data->header;
    data->source = (sd_source){.samples = samples_of(h),
                               .n_train = h->images[0],
                               .n_test = h->images[1],
                               .bytes = data->tables.bytes,
                               .hash = hash_of(h),
                               .mean = h->mean,
                               .deviation = h->deviation,
                               .mean_is_of_all = true,
                               .read = read_image,
                               .close = close_packed,
                               .class_name = class_name};
    *source = &data->source;
    return SD_OK;
}

const sd_source_kind sd_packed_source = {describe, open_packed, find};
