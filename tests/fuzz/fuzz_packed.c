/* SPDX-License-Identifier: Apache-2.0 */
/* Packed sets: refused, or a data set of which every image can be asked for. The file is sealed anew, header and
 * digests, as no accident makes it: the checks behind the seal are what is looked at. Where the first byte is odd it is
 * left as it is.
 *
 *     input: a byte, then the file */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/data/packed.h"
#include "fuzz.h"
#include "sdtrain/file.h"
#include "sdtrain/pack.h"

static const char *const images[] = {"train/a/1.png", "train/a/2.png", "train/b/1.png", "val/b/1.png"};

/* 1 x 1, red. */
static const uint8_t png[] = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
                              0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00,
                              0x00, 0x90, 0x77, 0x53, 0xde, 0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78,
                              0xda, 0x63, 0xf8, 0xcf, 0xc0, 0x00, 0x00, 0x03, 0x01, 0x01, 0x00, 0xf7, 0x03, 0x41,
                              0x43, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

static const char *place(const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", fuzz_folder(), name);
    return path;
}

static void write_images(void) {
    char path[512], folder[512];
    size_t made;
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        place(images[i], path);
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        fuzz_require(sd_file_make_folders(folder, &made) == SD_OK, "%s", sd_error_message());
        fuzz_write(path, png, sizeof png);
    }
}

/* Encoded and decoded; with digests and without. */
bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    char path[512];
    sd_pack_info info;
    if (i >= 4)
        return false;
    write_images();
    const sd_pack_spec spec = {.source = fuzz_folder(), .out = place("seed.h5", path), .decoded = i % 2, .plain = -1};
    fuzz_require(sd_pack(&spec, &info) == SD_OK, "%s", sd_error_message());
    uint8_t *file = fuzz_read(path, n);
    *bytes = malloc(*n + 1);
    **bytes = (uint8_t)(i / 2);
    memcpy(*bytes + 1, file, *n);
    free(file);
    ++*n;
    return true;
}

static void seal(uint8_t *file, size_t n) {
    sd_packed_header h;
    if (n < SD_PACKED_HEADER_BYTES)
        return;
    sd_packed_header_get(file, &h);
    h.file_bytes = n;
    for (int i = 0; i < SD_PACKED_PARTS; i++)
        if (h.array[i].bytes <= n && h.array[i].at <= n - h.array[i].bytes)
            sd_packed_digest(file + h.array[i].at, h.array[i].bytes, h.array[i].digest);
    sd_packed_header_write(&h, file);
}

static void read_split(const sd_dataset *set, sd_split split, sd_sample *image) {
    const uint32_t n = sd_dataset_images(set, split);
    for (uint32_t i = 0; i < n && i < 8; i++) {
        const uint32_t index = i < 4 ? i : n - 1 - (i - 4) % n;
        const sd_status status = sd_dataset_read(set, split, index, image);
        fuzz_require(status == SD_OK || *sd_error_message(), "there is no message");
        fuzz_require(status != SD_OK || (image->label >= 0 && image->label < sd_dataset_samples(set).classes),
                     "label %d", (int)image->label);
    }
}

static void use(const sd_dataset *set) {
    sd_sample image = {0};
    fuzz_require(sd_dataset_deviation(set)[0] > 0, "a deviation of 0");
    for (int c = 0; c < sd_dataset_samples(set).classes && c < 4; c++)
        (void)strlen(sd_dataset_class(set, c));
    (void)strlen(sd_dataset_class(set, sd_dataset_samples(set).classes - 1));
    read_split(set, SD_SPLIT_TRAIN, &image);
    read_split(set, SD_SPLIT_VALIDATION, &image);
    sd_sample_free(&image);
}

static bool is_refusal(sd_status status) {
    return status == SD_ERR_DATA || status == SD_ERR_MEMORY || status == SD_ERR_NOINPUT;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[512];
    sd_found *found;
    sd_dataset *set = NULL;
    sd_pack_info info;
    uint8_t *file = malloc(n);
    if (n > 1)
        memcpy(file, bytes + 1, n - 1);
    if (n > 0 && bytes[0] % 2 == 0)
        seal(file, n - 1);
    fuzz_write(place("set.h5", path), file, n > 0 ? n - 1 : 0);
    free(file);
    sd_data_spec spec = {.kind = SD_DATASET_HDF5, .path = path};
    sd_error_clear();
    sd_status status = sd_data_find(&spec, &found);
    fuzz_require(status == SD_OK || (is_refusal(status) && !found), "status %d", (int)status);
    if (status == SD_OK) {
        spec.found = found;
        status = sd_dataset_open(&spec, &set);
        fuzz_require(status == SD_OK || (is_refusal(status) && !set), "status %d: %s", (int)status, sd_error_message());
    }
    fuzz_require(status == SD_OK || strstr(sd_error_message(), path), "no path: %s", sd_error_message());
    if (set)
        use(set);
    const sd_status verified = sd_pack_verify(path, NULL, &info);
    fuzz_require(verified == SD_OK ? status == SD_OK : is_refusal(verified), "verified %d, opened %d", (int)verified,
                 (int)status);
    sd_dataset_close(&set);
    sd_found_free(&found);
    return 0;
}
