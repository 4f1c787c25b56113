/* SPDX-License-Identifier: Apache-2.0 */
/* Packed lists of images: refused, or a list whose every name, path and label lies within it.
 *
 *     input: the bytes that sd_listing_unpack() gets */
#include <stdlib.h>
#include <string.h>

#include "../../src/data/listing.h"
#include "fuzz.h"
#include "sdtrain/status.h"

/* Lists of 0 to 3 classes; each has one image, the last one a second in a folder of its own; half are test images. */
bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const char *const names[] = {"a", "", "of two words"};
    sd_listing_builder builder = {0};
    sd_listing *listing;
    if (i >= 8)
        return false;
    bool built = sd_listing_begin(&builder, i % 2 ? "/data/" : "data") == SD_OK;
    for (int c = 0; c < i / 2; c++)
        built = built && sd_listing_add_class(&builder, names[c]) == SD_OK;
    for (int c = 0; c < i / 2; c++) {
        if (c == 1)
            sd_listing_begin_test(&builder);
        built = built && sd_listing_add_folder(&builder, names[c], c) == SD_OK &&
                sd_listing_add_image(&builder, "1.png", 100) == SD_OK;
        if (c == 2)
            built = built && sd_listing_add_folder(&builder, "of two words/deep", c) == SD_OK &&
                    sd_listing_add_image(&builder, "2.jpeg", UINT64_MAX) == SD_OK;
    }
    fuzz_require(built && sd_listing_finish(&builder, &listing) == SD_OK, "%s", sd_error_message());
    const void *packed;
    sd_listing_pack(listing, &packed, n);
    *bytes = malloc(*n);
    memcpy(*bytes, packed, *n);
    sd_listing_free(&listing);
    return true;
}

static void require_within(const sd_listing *listing, const char *bytes, size_t n) {
    const int32_t classes = sd_listing_classes(listing);
    fuzz_require(classes >= 0, "%d classes", (int)classes);
    for (int32_t c = 0; c < classes; c++) {
        const char *name = sd_listing_class(listing, c);
        fuzz_require(name >= bytes && name < bytes + n, "the name of class %d lies outside", (int)c);
        fuzz_require(strnlen(name, (size_t)(bytes + n - name)) < (size_t)(bytes + n - name), "class %d: no end",
                     (int)c);
    }
    for (int test = 0; test < 2; test++)
        for (uint32_t i = 0; i < sd_listing_images(listing, test); i++) {
            char path[SD_LISTING_PATH_BYTES];
            memset(path, 'x', sizeof path);
            sd_listing_path(listing, test, i, path);
            fuzz_require(strnlen(path, sizeof path) < sizeof path, "the path of image %u has no end", i);
            const int32_t label = sd_listing_label(listing, test, i);
            fuzz_require(label >= 0 && label < classes, "image %u has label %d", i, (int)label);
            (void)sd_listing_file_bytes(listing, test, i);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    void *copy = malloc(n);
    sd_listing *listing;
    if (n > 0)
        memcpy(copy, bytes, n);
    sd_error_clear();
    const sd_status status = sd_listing_unpack(copy, n, &listing);
    fuzz_require(status == SD_OK || status == SD_ERR_DATA, "status %d", (int)status);
    fuzz_require((status == SD_OK) == (listing != NULL), "a list, and status %d", (int)status);
    if (status != SD_OK) {
        fuzz_require(*sd_error_message(), "there is no message");
        free(copy);
        return 0;
    }
    require_within(listing, copy, n);
    const uint64_t fingerprint = sd_listing_fingerprint(listing);
    const void *packed;
    size_t packed_n;
    sd_listing_pack(listing, &packed, &packed_n);
    fuzz_require(packed_n == n && !memcmp(packed, bytes, n), "what is packed is not what was unpacked");
    fuzz_require(fingerprint == sd_listing_fingerprint(listing), "the fingerprint is another one");
    sd_listing_free(&listing);
    return 0;
}
