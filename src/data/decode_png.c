/* SPDX-License-Identifier: Apache-2.0 */
/* PNG by libspng, which is given the chunks that make up the pixels and no others: nothing that stands in text, colour
 * profiles, EXIF or animations takes memory or can fail. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <spng.h>

#include "decode.h"
#include "sdtrain/arena.h"

enum {
    RGB = 3,
    SIGNATURE_BYTES = 8,
    CHUNK_BYTES = 12, /* length, type and CRC, beside the chunk's data */
    IHDR_BYTES = 13,
    ANCILLARY = 0x20,            /* of a type's first letter: not needed to decode */
    MOST_BYTES_FOR_A_BYTE = 1032 /* deflate: 258 bytes for two bits */
};

/* What is left of the file for libspng. */
typedef struct stream {
    const sd_encoded *file;
    size_t at;            /* the next chunk's place in the file */
    const uint8_t *piece; /* a chunk, or what is left of it */
    size_t n_piece;
    bool in_pixels, at_end; /* an IDAT chunk was given; IEND was */
} stream;

typedef struct decoder {
    stream stream;
    spng_ctx *png;
    struct spng_ihdr header;
    struct spng_plte_entry colour[256]; /* of an index, or of a gray of at most 8 bits */
    uint8_t *row;                       /* as it stands in the file, filters undone */
    size_t row_bytes;                   /* of the longest */
} decoder;

/* ---- the chunks ---- */

static uint32_t read_u32(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void give(stream *s, const void *bytes, size_t n) {
    s->piece = bytes;
    s->n_piece = n;
}

/* Sets the next piece: the header; chunks that are critical, up to the last of the IDAT chunks in a row; IEND. */
static int next_piece(stream *s) {
    static const uint8_t end[] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};
    const sd_encoded *file = s->file;
    if (s->at == 0) {
        s->at = SIGNATURE_BYTES + CHUNK_BYTES + IHDR_BYTES;
        give(s, file->bytes, s->at < file->n_bytes ? s->at : file->n_bytes);
        return 0;
    }
    while (!s->at_end && s->at < file->n_bytes && file->n_bytes - s->at >= CHUNK_BYTES) {
        const uint8_t *chunk = file->bytes + s->at;
        const size_t left = file->n_bytes - s->at, n = CHUNK_BYTES + (size_t)read_u32(chunk);
        const bool pixels = !memcmp(chunk + 4, "IDAT", 4);
        if (s->in_pixels && !pixels)
            break;
        if (chunk[4] & ANCILLARY) { /* never given, not even one that is cut: libspng would make room for all of it */
            s->at += n < left ? n : left;
            continue;
        }
        s->in_pixels = pixels;
        s->at += n < left ? n : left;
        give(s, chunk, n < left ? n : left);
        return 0;
    }
    if (!s->in_pixels || s->at_end)
        return SPNG_IO_EOF;
    s->at_end = true; /* the file's own may be missing */
    give(s, end, sizeof end);
    return 0;
}

static int read_stream(spng_ctx *png, void *user, void *to, size_t n) {
    stream *s = user;
    (void)png;
    for (uint8_t *next = to; n > 0;) {
        if (s->n_piece == 0) {
            const int error = next_piece(s);
            if (error)
                return error;
        }
        const size_t part = n < s->n_piece ? n : s->n_piece;
        memcpy(next, s->piece, part);
        next += part;
        n -= part;
        s->piece += part;
        s->n_piece -= part;
    }
    return 0;
}

/* ---- rows ---- */

static void put_colour(const decoder *d, uint32_t n, uint8_t *to, size_t step) {
    const unsigned depth = d->header.bit_depth, mask = (1u << depth) - 1;
    for (uint32_t i = 0; i < n; i++, to += step) {
        const unsigned bit = i % (8 / depth) * depth;
        const struct spng_plte_entry *colour = &d->colour[d->row[i / (8 / depth)] >> (8 - depth - bit) & mask];
        to[0] = colour->red;
        to[1] = colour->green;
        to[2] = colour->blue;
    }
}

static void put_clipped(const decoder *d, uint32_t n, uint8_t *to, size_t step) {
    for (uint32_t i = 0; i < n; i++, to += step)
        to[0] = to[1] = to[2] = d->row[2 * i] ? 255 : d->row[2 * i + 1];
}

static unsigned channels(const struct spng_ihdr *header) {
    switch (header->color_type) {
    case SPNG_COLOR_TYPE_TRUECOLOR:
        return 3;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
        return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
        return 4;
    default:
        return 1;
    }
}

/* The first byte, which is the high one, of red, green and blue. */
static void put_high_bytes(const decoder *d, uint32_t n, uint8_t *to, size_t step) {
    const size_t sample = d->header.bit_depth / 8u, pixel = channels(&d->header) * sample,
                 green = channels(&d->header) >= RGB ? sample : 0;
    const uint8_t *from = d->row;
    for (uint32_t i = 0; i < n; i++, to += step, from += pixel) {
        to[0] = from[0];
        to[1] = from[green];
        to[2] = from[2 * green];
    }
}

/* n pixels of a row, step bytes apart. */
static void put_row(const decoder *d, uint32_t n, uint8_t *to, size_t step) {
    if (channels(&d->header) > 1)
        put_high_bytes(d, n, to, step);
    else if (d->header.bit_depth == 16)
        put_clipped(d, n, to, step);
    else
        put_colour(d, n, to, step);
}

/* Where the rows of a pass lie in the image (PNG specification, section 8.2, Adam7). */
static const struct {
    uint8_t first, step;
} columns[] = {{0, 8}, {4, 8}, {0, 4}, {2, 4}, {0, 2}, {1, 2}, {0, 1}}, all_columns = {0, 1};

/* Decodes row by row; returns libspng's error. */
static int read_rows(decoder *d, const sd_image *image) {
    int result = spng_decode_image(d->png, NULL, 0, SPNG_FMT_RAW, SPNG_DECODE_PROGRESSIVE);
    while (result == SPNG_OK) {
        struct spng_row_info row;
        result = spng_get_row_info(d->png, &row);
        if (result != SPNG_OK)
            break;
        result = spng_decode_scanline(d->png, d->row, d->row_bytes);
        if (result != SPNG_OK && result != SPNG_EOI)
            break;
        const uint32_t first = d->header.interlace_method ? columns[row.pass].first : all_columns.first,
                       step = d->header.interlace_method ? columns[row.pass].step : all_columns.step,
                       n = (d->header.width - first + step - 1) / step;
        put_row(d, n, image->rgb + ((size_t)row.row_num * d->header.width + first) * RGB, step * RGB);
    }
    return result == SPNG_EOI ? spng_decode_chunks(d->png) : result; /* that checks the CRC of the last IDAT chunk */
}

/* ---- statuses ---- */

static sd_status status_of(const decoder *d, int error) {
    if (error == SPNG_OK)
        return SD_OK;
    if (error == SPNG_IO_EOF)
        return sd_image_cut(d->stream.file);
    return sd_fail(error == SPNG_EMEM ? SD_ERR_MEMORY : SD_ERR_DATA, "%s: cannot be decoded: PNG: %s",
                   d->stream.file->path, spng_strerror(error));
}

/* Sets what a value of at most 8 bits stands for; colours that a palette lacks are black. */
static sd_status set_colours(decoder *d) {
    if (d->header.color_type == SPNG_COLOR_TYPE_INDEXED) {
        struct spng_plte palette;
        SD_TRY(status_of(d, spng_get_plte(d->png, &palette)));
        memcpy(d->colour, palette.entries, palette.n_entries * sizeof palette.entries[0]);
    } else if (d->header.bit_depth <= 8) {
        const unsigned most = (1u << d->header.bit_depth) - 1;
        for (unsigned i = 0; i <= most; i++) {
            const uint8_t gray = (uint8_t)(i * 255 / most);
            d->colour[i] = (struct spng_plte_entry){gray, gray, gray, 255};
        }
    }
    return SD_OK;
}

/* Reads the header and checks it. Caller ends with spng_ctx_free(), also on failure. */
static sd_status begin(decoder *d) {
    d->png = spng_ctx_new(0);
    if (!d->png)
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory", d->stream.file->path);
    SD_TRY(status_of(d, spng_set_png_stream(d->png, read_stream, &d->stream)));
    SD_TRY(status_of(d, spng_get_ihdr(d->png, &d->header)));
    d->row_bytes = ((size_t)d->header.width * channels(&d->header) * d->header.bit_depth + 7) / 8;
    return sd_image_check_size(d->stream.file, d->header.width, d->header.height,
                               (uint64_t)d->row_bytes * d->header.height / MOST_BYTES_FOR_A_BYTE);
}

static sd_status png_size(const sd_encoded *file, int *width, int *height) {
    decoder d = {.stream.file = file};
    sd_status status = begin(&d);
    *width = (int)d.header.width;
    *height = (int)d.header.height;
    spng_ctx_free(d.png);
    return status;
}

static sd_status png_decode(const sd_encoded *file, sd_image *image) {
    decoder d = {.stream.file = file};
    sd_status status;
    SD_TRY_CLEANUP(begin(&d));
    SD_TRY_CLEANUP(sd_image_allocate((int)d.header.width, (int)d.header.height, image));
    SD_TRY_CLEANUP(sd_alloc(&d.row, 1, d.row_bytes));
    SD_TRY_CLEANUP(set_colours(&d));
    SD_TRY_CLEANUP(status_of(&d, read_rows(&d, image)));
    if (d.header.color_type == SPNG_COLOR_TYPE_GRAYSCALE && d.header.bit_depth == 16)
        sd_log_warn_once("%s: has 16 bits of gray, of which values above 255 become 255, as Pillow does it; convert "
                         "such files to 8 bits",
                         file->path);
cleanup:
    spng_ctx_free(d.png);
    free(d.row);
    return status;
}

const sd_image_format sd_png_format = {png_size, png_decode};
