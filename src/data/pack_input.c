/* SPDX-License-Identifier: Apache-2.0 */
#include "pack_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "packed.h"
#include "sdtrain/file.h"

static bool has(const char *folder, const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* A folder, by what lies in it. */
static sd_dataset_kind kind_of(const char *folder) {
    if (has(folder, "cifar-10-batches-bin") || has(folder, "data_batch_1.bin"))
        return SD_DATASET_CIFAR10;
    if (has(folder, "cifar-100-binary") || (has(folder, "train.bin") && has(folder, "test.bin")))
        return SD_DATASET_CIFAR100;
    return SD_DATASET_FOLDER;
}

sd_status sd_pack_input_open(const sd_pack_spec *spec, sd_pack_input *input) {
    sd_data_spec data = {.kind = kind_of(spec->source), .path = spec->source};
    if (spec->plain >= 0)
        return sd_plain_open(spec->source, spec->plain, &input->source);
    SD_TRY(sd_data_find(&data, &input->found));
    data.found = input->found;
    if (data.kind == SD_DATASET_FOLDER) {
        input->listing = (const sd_listing *)input->found;
        input->encoded = !spec->decoded;
    }
    return sd_source_kind_of(&data)->open(&data, &input->source);
}

void sd_pack_input_close(sd_pack_input *input) {
    if (input->source)
        input->source->close(input->source);
    sd_found_free(&input->found);
    *input = (sd_pack_input){0};
}

uint32_t sd_pack_input_images(const sd_pack_input *input, bool test) {
    return test ? input->source->n_test : input->source->n_train;
}

void sd_pack_input_name(const sd_pack_input *input, const char *source, bool test, uint32_t index, char name[4200]) {
    if (input->listing)
        sd_listing_path(input->listing, test, index, name);
    else
        snprintf(name, 4200, "%s: %s image %u", source, test ? "test" : "training", index);
}

/* A file that changes while it is packed would not fit in its place. */
static sd_status read_file(const sd_pack_input *input, bool test, uint32_t index, sd_pack_item *item) {
    char path[SD_LISTING_PATH_BYTES];
    sd_image image;
    sd_listing_path(input->listing, test, index, path);
    SD_TRY(sd_file_get(path, SD_PACKED_MOST_FILE_BYTES, &item->bytes, &item->n_bytes));
    if (item->n_bytes != sd_listing_file_bytes(input->listing, test, index))
        return sd_fail(SD_ERR_NOINPUT, "%s: changes while it is packed", path);
    SD_TRY(sd_image_decode(path, (const uint8_t *)item->bytes, item->n_bytes, &image));
    sd_moments_add(&item->moments, &(sd_sample){.h = image.height, .w = image.width, .pixels = image.rgb});
    free(image.rgb);
    item->image.label = sd_listing_label(input->listing, test, index);
    return SD_OK;
}

static sd_status read_pixels(const sd_pack_input *input, bool test, uint32_t index, int h, int w, sd_pack_item *item) {
    sd_sample *image = &item->image;
    SD_TRY(input->source->read(input->source, test, index, image));
    if (h == 0 || (image->h == h && image->w == w)) {
        sd_moments_add(&item->moments, image);
        return SD_OK;
    }
    free(image->pixels); /* there may be many, and each may be large */
    image->pixels = NULL;
    image->capacity_bytes = 0;
    return SD_OK;
}

void sd_pack_input_fetch(const sd_pack_input *input, bool test, uint32_t index, int h, int w, sd_pack_item *item) {
    free(item->bytes);
    item->bytes = NULL;
    item->moments = (sd_moments){0};
    sd_outcome_keep(&item->outcome,
                    input->encoded ? read_file(input, test, index, item) : read_pixels(input, test, index, h, w, item));
    sd_error_clear();
}

void sd_pack_item_free(sd_pack_item *item) {
    free(item->bytes);
    item->bytes = NULL;
    sd_sample_free(&item->image);
}
