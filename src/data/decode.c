/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sdtrain/arena.h"

enum { RGB = 3, TEXT_BYTES = 512 /* of a file's beginning that tell text */ };

/* ---- for the formats ---- */

sd_status sd_image_check_size(const sd_encoded *file, uint32_t width, uint32_t height, uint64_t fewest_bytes) {
    if (width == 0 || height == 0)
        return sd_fail(SD_ERR_DATA, "%s: has %u x %u pixels", file->path, width, height);
    if (width > SD_IMAGE_MOST_SIDE || height > SD_IMAGE_MOST_SIDE)
        return sd_fail(SD_ERR_DATA, "%s: has %u x %u pixels; a side has at most %d", file->path, width, height,
                       SD_IMAGE_MOST_SIDE);
    if ((uint64_t)width * height > SD_IMAGE_MOST_PIXELS)
        return sd_fail(SD_ERR_DATA, "%s: has %u x %u pixels; an image has at most %d", file->path, width, height,
                       SD_IMAGE_MOST_PIXELS);
    if (file->n_bytes < fewest_bytes)
        return sd_fail(SD_ERR_DATA, "%s: is cut short, or damaged: its %zu bytes cannot hold %u x %u pixels",
                       file->path, file->n_bytes, width, height);
    return SD_OK;
}

sd_status sd_image_cut(const sd_encoded *file) {
    return sd_fail(SD_ERR_DATA, "%s: is cut short: the image goes on after its last byte, %zu", file->path,
                   file->n_bytes);
}

sd_status sd_image_allocate(int width, int height, sd_image *image) {
    image->width = width;
    image->height = height;
    return sd_alloc(&image->rgb, (size_t)width * (size_t)height, RGB);
}

/* ---- what a file is ---- */

/* What files of a format have at a place near their beginning. */
typedef struct signature {
    const char *name; /* with its article */
    size_t at, n;
    const char *bytes;
    const sd_image_format *format; /* NULL: recognised, to say what it is */
} signature;

#define BYTES(text) sizeof(text) - 1, text
static const signature signatures[] = {
    {"a JPEG image", 0, BYTES("\xff\xd8\xff"), &sd_jpeg_format},
    {"a PNG image", 0, BYTES("\x89PNG\r\n\x1a\n"), &sd_png_format},
    {"a GIF image", 0, BYTES("GIF8"), NULL},
    {"a WebP image", 8, BYTES("WEBP"), NULL},
    {"a TIFF image", 0, BYTES("II*\0"), NULL},
    {"a TIFF image", 0, BYTES("MM\0*"), NULL},
    {"a TIFF image", 0, BYTES("II+\0"), NULL},
    {"a TIFF image", 0, BYTES("MM\0+"), NULL},
    {"an AVIF image", 4, BYTES("ftypavi"), NULL},
    {"a HEIF image", 4, BYTES("ftyphei"), NULL},
    {"a HEIF image", 4, BYTES("ftypmif1"), NULL},
    {"a JPEG 2000 image", 0, BYTES("\0\0\0\x0cjP  "), NULL},
    {"a JPEG 2000 image", 0, BYTES("\xff\x4f\xff\x51"), NULL},
    {"a JPEG XL image", 0, BYTES("\0\0\0\x0cJXL "), NULL},
    {"a JPEG XL image", 0, BYTES("\xff\x0a"), NULL},
    {"a Photoshop image", 0, BYTES("8BPS"), NULL},
    {"a BMP image", 0, BYTES("BM"), NULL},
    {"a Netpbm image", 0, BYTES("P5\n"), NULL},
    {"a Netpbm image", 0, BYTES("P6\n"), NULL},
    {"a NumPy array", 0, BYTES("\x93NUMPY"), NULL},
    {"an HDF5 file", 0, BYTES("\x89HDF\r\n\x1a\n"), NULL},
    {"a PDF document", 0, BYTES("%PDF-"), NULL},
    {"a ZIP archive", 0, BYTES("PK\x03\x04"), NULL},
    {"a gzip archive", 0, BYTES("\x1f\x8b"), NULL},
    {"a pointer of Git LFS, not the file itself", 0, BYTES("version https://git-lfs"), NULL},
};

enum { N_SIGNATURES = sizeof signatures / sizeof signatures[0] };

static const signature *find_signature(const sd_encoded *file) {
    for (const signature *s = signatures; s < signatures + N_SIGNATURES; s++)
        if (file->n_bytes >= s->at + s->n && !memcmp(file->bytes + s->at, s->bytes, s->n))
            return s;
    return NULL;
}

/* The file ends within the signature of a format that is decoded. */
static bool is_signature_cut(const sd_encoded *file) {
    for (const signature *s = signatures; s < signatures + N_SIGNATURES; s++)
        if (s->format && file->n_bytes < s->n && !memcmp(file->bytes, s->bytes, file->n_bytes))
            return true;
    return false;
}

/* No control characters, and a quarter or more of ASCII: spaces and marks, which all languages use. */
static bool is_text(const uint8_t *bytes, size_t n) {
    size_t n_ascii = 0;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == 0x7f || (bytes[i] < ' ' && (bytes[i] < '\t' || bytes[i] > '\r')))
            return false;
        n_ascii += bytes[i] < 0x80;
    }
    return n_ascii >= n / 4 + 1;
}

static bool begins_with_word(const uint8_t *bytes, size_t n, const char *word) {
    return n >= strlen(word) && !strncasecmp((const char *)bytes, word, strlen(word));
}

/* NULL: no text. */
static const char *name_text(const sd_encoded *file) {
    const size_t n = file->n_bytes < TEXT_BYTES ? file->n_bytes : TEXT_BYTES;
    size_t at = n >= 3 && !memcmp(file->bytes, "\xef\xbb\xbf", 3) ? 3 : 0; /* byte order mark */
    if (!is_text(file->bytes, n))
        return NULL;
    while (at < n && isspace(file->bytes[at]))
        at++;
    if (begins_with_word(file->bytes + at, n - at, "<!doctype html") ||
        begins_with_word(file->bytes + at, n - at, "<html"))
        return "an HTML page: was it downloaded with an error?";
    if (begins_with_word(file->bytes + at, n - at, "<svg") || begins_with_word(file->bytes + at, n - at, "<?xml"))
        return "an SVG image or other XML";
    return "text";
}

static bool is_zeros(const sd_encoded *file) {
    for (size_t i = 0; i < file->n_bytes; i++)
        if (file->bytes[i] != 0)
            return false;
    return true;
}

static sd_status refuse(const sd_encoded *file, const signature *found) {
    static const char expected[] = "JPEG and PNG images are read";
    const uint8_t *b = file->bytes;
    if (file->n_bytes == 0)
        return sd_fail(SD_ERR_DATA, "%s: is empty; %s", file->path, expected);
    if (is_signature_cut(file))
        return sd_image_cut(file);
    const char *name = found ? found->name : is_zeros(file) ? "nothing but zero bytes" : name_text(file);
    if (name)
        return sd_fail(SD_ERR_DATA, "%s: looks like %s; %s", file->path, name, expected);
    if (file->n_bytes < 4)
        return sd_fail(SD_ERR_DATA, "%s: has %zu bytes that are no image; %s", file->path, file->n_bytes, expected);
    return sd_fail(SD_ERR_DATA, "%s: begins with bytes %02x %02x %02x %02x, which are no image's; %s", file->path, b[0],
                   b[1], b[2], b[3], expected);
}

/* ---- for callers ---- */

sd_status sd_image_decode(const char *path, const uint8_t *bytes, size_t n_bytes, sd_image *image) {
    const sd_encoded file = {path, bytes, n_bytes};
    const signature *found = find_signature(&file);
    *image = (sd_image){0};
    if (!found || !found->format)
        return refuse(&file, found);
    sd_status status = found->format->decode(&file, image);
    if (status != SD_OK) {
        free(image->rgb);
        *image = (sd_image){0};
    }
    return status;
}

sd_status sd_image_size(const char *path, const uint8_t *bytes, size_t n_bytes, int *width, int *height) {
    const sd_encoded file = {path, bytes, n_bytes};
    const signature *found = find_signature(&file);
    *width = *height = 0;
    if (!found || !found->format)
        return refuse(&file, found);
    return found->format->size(&file, width, height);
}
