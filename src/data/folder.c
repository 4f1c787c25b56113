/* SPDX-License-Identifier: Apache-2.0 */
/* Images in folders that are classes (listing.h): read and decoded when a batch wants them, never held. */
#include <stdlib.h>

#include "image.h"
#include "listing.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"
#include "source.h"

enum { MOST_FILE_BYTES = 1 << 29 }; /* of a file; the largest image that is taken has this many bytes of pixels */

typedef struct folder {
    sd_source source;
    const sd_listing *listing;
} folder;

static sd_status read_image(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    const folder *data = (const folder *)source;
    char path[SD_LISTING_PATH_BYTES], *bytes;
    size_t n_bytes;
    sd_image image;
    sd_listing_path(data->listing, test, index, path);
    SD_TRY(sd_file_get(path, MOST_FILE_BYTES, &bytes, &n_bytes));
    const sd_status status = sd_image_decode(path, (const uint8_t *)bytes, n_bytes, &image);
    free(bytes);
    SD_TRY(status);
    sd_sample_adopt(sample, &image);
    sample->label = sd_listing_label(data->listing, test, index);
    return SD_OK;
}

static const char *class_name(const sd_source *source, int label) {
    return sd_listing_class(((const folder *)source)->listing, label);
}

static void close_folder(sd_source *source) { free(source); }

/* NULL: the folder was not listed. */
static const sd_listing *listing_of(const sd_data_spec *spec) {
    return spec->found && spec->found->format == SD_FOUND_LISTING ? (const sd_listing *)spec->found : NULL;
}

/* Without a listing, as of a checkpoint's configuration, the classes that this says. */
static sd_sample_spec describe(const sd_data_spec *spec) {
    const sd_listing *listing = listing_of(spec);
    return (sd_sample_spec){.classes = listing ? sd_listing_classes(listing) : (int)spec->classes};
}

static sd_status find(const sd_data_spec *spec, sd_found **found) {
    sd_listing *listing;
    const sd_status status = sd_listing_scan(spec->path, &listing);
    *found = (sd_found *)listing;
    return status;
}

static sd_status open_folder(const sd_data_spec *spec, sd_source **source) {
    const sd_listing *listing = listing_of(spec);
    folder *data;
    if (!listing)
        return sd_fail(SD_ERR_INTERNAL, "%s: the folder was not listed before it was opened", spec->path);
    SD_TRY(sd_alloc(&data, 1, sizeof *data));
    data->listing = listing;
    data->source = (sd_source){.samples = describe(spec),
                               .n_train = sd_listing_images(listing, false),
                               .n_test = sd_listing_images(listing, true),
                               .hash = sd_listing_fingerprint(listing),
                               .hashed = "names, lengths or order of the files",
                               .read = read_image,
                               .close = close_folder,
                               .class_name = class_name};
    *source = &data->source;
    return SD_OK;
}

const sd_source_kind sd_folder_source = {describe, open_folder, find};
