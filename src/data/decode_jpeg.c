/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG by libjpeg-turbo, with the settings and the source of bytes that Pillow gives it: one that ends, instead of the
 * usual one, which invents an end of image where the file has none. Other libjpegs upsample in another way. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

#include "decode.h"
#include "sdtrain/arena.h"

#ifndef LIBJPEG_TURBO_VERSION
#error "libjpeg-turbo is needed: other libjpegs decode to other pixels"
#endif

enum {
    RGB = 3,
    CMYK = 4,
    MOST_SCANS = 100, /* each costs time for every pixel, and can be had for a few bytes; encoders write about 10 */
    /* A block takes a bit or more (Huffman codes; arithmetic ones of real images too), and there is one for every 128
     * pixels or more: components with the sampling factors 4 x 1 and 1 x 4 have 8 for 32 x 32 pixels. */
    MOST_PIXELS_PER_BYTE = 128 * 8
};

typedef struct decoder {
    struct jpeg_decompress_struct jpeg; /* first: libjpeg calls back with it */
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const sd_encoded *file;
    char reason[JMSG_LENGTH_MAX]; /* of the error, else the first warning */
    sd_image *image;
    JSAMPLE *line; /* [width, 4]; CMYK only */
} decoder;

/* ---- what libjpeg calls ---- */

_Noreturn static void fail(j_common_ptr jpeg) {
    decoder *d = (decoder *)jpeg;
    jpeg->err->format_message(jpeg, d->reason);
    longjmp(d->failed, 1);
}

/* Negative levels are warnings of damage; others are for debugging. */
static void note_message(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->num_warnings++ == 0)
        jpeg->err->format_message(jpeg, ((decoder *)jpeg)->reason);
}

static void print_nothing(j_common_ptr jpeg) { (void)jpeg; }
static void do_nothing(j_decompress_ptr jpeg) { (void)jpeg; }

/* The whole file is in the buffer: what asks for more finds it cut, and libjpeg's functions return without a result. */
static boolean refuse_more(j_decompress_ptr jpeg) {
    (void)jpeg;
    return FALSE;
}

static void skip_bytes(j_decompress_ptr jpeg, long n) {
    struct jpeg_source_mgr *source = jpeg->src;
    const size_t skipped = n < 0 ? 0 : (size_t)n < source->bytes_in_buffer ? (size_t)n : source->bytes_in_buffer;
    source->next_input_byte += skipped;
    source->bytes_in_buffer -= skipped;
}

static void count_scans(j_common_ptr jpeg) {
    decoder *d = (decoder *)jpeg;
    if (d->jpeg.input_scan_number <= MOST_SCANS)
        return;
    snprintf(d->reason, sizeof d->reason, "more than %d scans", MOST_SCANS);
    longjmp(d->failed, 1);
}

/* ---- steps; each returns false if the file ends in it, and leaves by fail() if libjpeg fails ---- */

static bool read_header(decoder *d) {
    d->source = (struct jpeg_source_mgr){.next_input_byte = d->file->bytes,
                                         .bytes_in_buffer = d->file->n_bytes,
                                         .init_source = do_nothing,
                                         .fill_input_buffer = refuse_more,
                                         .skip_input_data = skip_bytes,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = do_nothing};
    d->progress.progress_monitor = count_scans;
    jpeg_create_decompress(&d->jpeg);
    d->jpeg.src = &d->source;
    d->jpeg.progress = &d->progress;
    return jpeg_read_header(&d->jpeg, TRUE) == JPEG_HEADER_OK;
}

/* a b / 255, rounded, as Pillow rounds it. */
static int multiply(int a, int b) {
    const int product = a * b + 128;
    return (product + (product >> 8)) >> 8;
}

/* From CMYK as it stands in the file, which is inverted. */
static void put_cmyk(const JSAMPLE *cmyk, int width, uint8_t *rgb) {
    for (int i = 0; i < width; i++, cmyk += CMYK)
        for (int c = 0; c < RGB; c++)
            *rgb++ = (uint8_t)(cmyk[3] - multiply(255 - cmyk[c], cmyk[3]));
}

static bool read_rows(decoder *d) {
    const bool cmyk = d->jpeg.num_components == CMYK;
    d->jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    d->jpeg.dct_method = JDCT_ISLOW;
    d->jpeg.do_fancy_upsampling = TRUE;
    if (!jpeg_start_decompress(&d->jpeg)) /* decodes all scans, if there are several */
        return false;
    for (int h = 0; h < d->image->height; h++) {
        uint8_t *to = d->image->rgb + (size_t)h * (size_t)d->image->width * RGB;
        JSAMPROW row = cmyk ? d->line : to;
        if (jpeg_read_scanlines(&d->jpeg, &row, 1) != 1)
            return false;
        if (cmyk)
            put_cmyk(d->line, d->image->width, to);
    }
    jpeg_finish_decompress(&d->jpeg); /* fails on damage behind the pixels; these are all there, so an end is none */
    return true;
}

/* ---- statuses ---- */

/* Runs a step. What it changes lies in *d, so nothing is lost where it leaves by longjmp(). */
static sd_status attempt(decoder *d, bool (*step)(decoder *)) {
    if (setjmp(d->failed) == 0)
        return step(d) ? SD_OK : sd_image_cut(d->file);
    const sd_status status = d->errors.msg_code == JERR_OUT_OF_MEMORY ? SD_ERR_MEMORY : SD_ERR_DATA;
    return sd_fail(status, "%s: cannot be decoded: JPEG: %s", d->file->path, d->reason);
}

static sd_status check_header(const decoder *d) {
    const struct jpeg_decompress_struct *jpeg = &d->jpeg;
    const uint64_t pixels = (uint64_t)jpeg->image_width * jpeg->image_height;
    if (jpeg->data_precision != 8)
        return sd_fail(SD_ERR_DATA, "%s: is a JPEG image of %d bits; those of 8 are read", d->file->path,
                       jpeg->data_precision);
    if (jpeg->num_components != 1 && jpeg->num_components != RGB && jpeg->num_components != CMYK)
        return sd_fail(SD_ERR_DATA, "%s: is a JPEG image of %d components; those of 1, 3 and 4 are read", d->file->path,
                       jpeg->num_components);
    return sd_image_check_size(d->file, jpeg->image_width, jpeg->image_height, pixels / MOST_PIXELS_PER_BYTE);
}

/* Reads the header and checks it. Caller ends with jpeg_destroy_decompress(), also on failure. */
static sd_status begin(decoder *d) {
    d->jpeg.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = fail;
    d->errors.emit_message = note_message;
    d->errors.output_message = print_nothing;
    SD_TRY(attempt(d, read_header));
    return check_header(d);
}

static sd_status jpeg_size(const sd_encoded *file, int *width, int *height) {
    decoder d = {.file = file};
    sd_status status = begin(&d);
    *width = (int)d.jpeg.image_width;
    *height = (int)d.jpeg.image_height;
    jpeg_destroy_decompress(&d.jpeg);
    return status;
}

static sd_status jpeg_decode(const sd_encoded *file, sd_image *image) {
    decoder d = {.file = file, .image = image};
    sd_status status;
    SD_TRY_CLEANUP(begin(&d));
    SD_TRY_CLEANUP(sd_image_allocate((int)d.jpeg.image_width, (int)d.jpeg.image_height, image));
    if (d.jpeg.num_components == CMYK)
        SD_TRY_CLEANUP(sd_alloc(&d.line, d.jpeg.image_width, CMYK));
    SD_TRY_CLEANUP(attempt(&d, read_rows));
    if (d.errors.num_warnings > 0)
        sd_log_warn_once("%s: is damaged (JPEG: %s); it is used as far as it can be decoded, as are other such files",
                         file->path, d.reason);
cleanup:
    jpeg_destroy_decompress(&d.jpeg);
    free(d.line);
    return status;
}

const sd_image_format sd_jpeg_format = {jpeg_size, jpeg_decode};
