/* SPDX-License-Identifier: Apache-2.0 */
/* Image files: decoded, twice to the same pixels and of the size that the header says, or refused with the file's name
 * and a reason, and nothing to free.
 *
 *     input: the file. Golden images are the corpus. */
#include <stdlib.h>
#include <string.h>

#include "../../src/data/image.h"
#include "fuzz.h"

enum { MOST_PIXELS = 1 << 20 /* of an image that is decoded, for speed */ };
static const char path[] = "folder/image";

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const char page[] = "<!doctype html><title>404 Not Found</title>";
    if (i > 0)
        return false;
    *n = sizeof page - 1;
    *bytes = malloc(*n);
    memcpy(*bytes, page, *n);
    return true;
}

static void expect_reason(sd_status status) {
    fuzz_require(status == SD_ERR_DATA, "status %d: %s", (int)status, sd_error_message());
    fuzz_require(!strncmp(sd_error_message(), "folder/image: ", 14) && sd_error_message()[14],
                 "no file or no reason: '%s'", sd_error_message());
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    sd_image image, again;
    int width, height;
    sd_error_clear();
    const sd_status size = sd_image_size(path, bytes, n, &width, &height);
    if (size != SD_OK)
        expect_reason(size);
    else if ((int64_t)width * height > MOST_PIXELS)
        return 0;
    sd_error_clear();
    const sd_status status = sd_image_decode(path, bytes, n, &image);
    if (status != SD_OK) {
        expect_reason(status);
        fuzz_require(!image.rgb, "pixels of an image that was refused");
        return 0;
    }
    fuzz_require(size == SD_OK && image.width == width && image.height == height, "%d x %d, and status %d, %d x %d",
                 image.width, image.height, (int)size, width, height);
    fuzz_require(sd_image_decode(path, bytes, n, &again) == SD_OK, "not decoded again: %s", sd_error_message());
    fuzz_require(!memcmp(image.rgb, again.rgb, (size_t)width * (size_t)height * 3), "decoded to other pixels");
    free(image.rgb);
    free(again.rgb);
    return 0;
}
