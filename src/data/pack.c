/* SPDX-License-Identifier: Apache-2.0 */
/* Packs a data set: slabs of images are read and decoded by threads, then appended in order. */
#include "sdtrain/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack_file.h"
#include "pack_input.h"
#include "sdtrain/arena.h"

enum { SLAB_IMAGES = 128, SLAB_BYTES = 1 << 26 };

typedef struct pack {
    const sd_pack_spec *spec;
    sd_pack_input input;
    sd_pack_file file;
    sd_packed_tables tables;
    uint32_t taken[2];      /* images of each part that the tables have */
    unsigned char *left[2]; /* [images] 1: bad, left out */
    uint32_t left_out;
    int h, w; /* of all images, if decoded */
    uint64_t done, all;
    sd_moments moments;
    sd_pack_item *items; /* [SLAB_IMAGES] */
} pack;

/* ---- slabs ---- */

/* How many images from `first` on are read together. */
static uint32_t slab_of(const pack *p, bool test, uint32_t first) {
    const uint32_t images = sd_pack_input_images(&p->input, test);
    uint64_t bytes = 0;
    uint32_t n = 0;
    while (n < SLAB_IMAGES && first + n < images) {
        bytes += p->input.encoded ? sd_listing_file_bytes(p->input.listing, test, first + n)
                                  : (uint64_t)(p->h * (int64_t)p->w) * SD_CHANNELS;
        if (n > 0 && bytes > SLAB_BYTES)
            break;
        n++;
    }
    return n;
}

static void fetch_slab(pack *p, bool test, uint32_t first, uint32_t n) {
#pragma omp parallel for schedule(dynamic, 1)
    for (uint32_t i = 0; i < n; i++)
        if (!p->left[test][first + i])
            sd_pack_input_fetch(&p->input, test, first + i, p->h, p->w, &p->items[i]);
}

static sd_status leave_out(pack *p, bool test, uint32_t index, const sd_outcome *outcome) {
    const sd_pack_watch *watch = &p->spec->watch;
    if (outcome->status != SD_ERR_DATA || !p->spec->skip_bad)
        return sd_outcome_report(outcome);
    p->left[test][index] = 1;
    p->left_out++;
    if (watch->left_out)
        watch->left_out(watch->context, outcome->message);
    return SD_OK;
}

/* Calls take() for each image of a part that is not left out, in order. */
static sd_status for_images(pack *p, bool test, const char *doing,
                            sd_status (*take)(pack *p, bool test, uint32_t index, const sd_pack_item *item)) {
    const sd_pack_watch *watch = &p->spec->watch;
    const uint32_t images = sd_pack_input_images(&p->input, test);
    for (uint32_t first = 0, n; first < images; first += n) {
        if (watch->stopped && watch->stopped())
            return sd_fail(SD_STOPPED, "stopped by a signal");
        n = slab_of(p, test, first);
        fetch_slab(p, test, first, n);
        for (uint32_t i = 0; i < n; i++) {
            if (p->left[test][first + i])
                continue;
            if (p->items[i].outcome.status != SD_OK)
                SD_TRY(leave_out(p, test, first + i, &p->items[i].outcome));
            else
                SD_TRY(take(p, test, first + i, &p->items[i]));
        }
        p->done += n;
        if (watch->progress)
            watch->progress(watch->context, doing, p->done, p->all);
    }
    return SD_OK;
}

/* ---- before the file is made ---- */

static sd_status check_one(pack *p, bool test, uint32_t index, const sd_pack_item *item) {
    (void)p, (void)test, (void)index, (void)item;
    return SD_OK;
}

/* Decoded images have no gaps, so which ones are left out is found first. One image a thread is held. */
static sd_status find_bad(pack *p) {
    p->h = p->w = -1; /* no image has this size: no pixels are kept */
    sd_status status = for_images(p, false, "checking", check_one);
    if (status == SD_OK)
        status = for_images(p, true, "checking", check_one);
    p->h = p->w = 0;
    p->done = 0;
    return status;
}

static uint32_t kept(const pack *p, bool test) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < sd_pack_input_images(&p->input, test); i++)
        n += !p->left[test][i];
    return n;
}

/* Of the first image that is kept. */
static sd_status find_size(pack *p) {
    uint32_t first = 0;
    while (p->left[0][first])
        first++;
    sd_pack_input_fetch(&p->input, false, first, 0, 0, &p->items[0]);
    SD_TRY(sd_outcome_report(&p->items[0].outcome));
    p->h = p->items[0].image.h;
    p->w = p->items[0].image.w;
    return SD_OK;
}

static sd_status check_kept(const pack *p, uint32_t train, uint32_t test) {
    if (train == 0 || (test == 0 && sd_pack_input_images(&p->input, true) > 0))
        return sd_fail(SD_ERR_DATA, "%s: none of its %s images can be decoded", p->spec->source,
                       train == 0 ? "training" : "test");
    return SD_OK;
}

static sd_status describe(pack *p, sd_packed_header *header) {
    const bool encoded = p->input.encoded;
    *header = (sd_packed_header){.kind = encoded ? SD_PACKED_ENCODED : SD_PACKED_DECODED,
                                 .classes = (uint32_t)p->input.source->samples.classes};
    for (int test = 0; test < 2; test++) {
        header->images[test] = kept(p, test);
        uint64_t *bytes = &header->array[sd_packed_part_of(SD_PACKED_IMAGES, test)].bytes;
        for (uint32_t i = 0; encoded && i < header->images[test]; i++)
            *bytes += sd_listing_file_bytes(p->input.listing, test, i);
        if (encoded && *bytes == 0) /* all files are empty */
            header->images[test] = 0;
    }
    SD_TRY(check_kept(p, header->images[0], header->images[1]));
    if (header->classes < 1 || header->classes > SD_PACKED_MOST_CLASSES)
        return sd_fail(SD_ERR_DATA, "%s: has %u classes, where 1 to %d are expected", p->spec->source, header->classes,
                       SD_PACKED_MOST_CLASSES);
    if (!encoded)
        SD_TRY(find_size(p));
    header->height = (uint32_t)p->h;
    header->width = (uint32_t)p->w;
    return SD_OK;
}

/* ---- packing ---- */

static sd_status check_size(const pack *p, bool test, uint32_t index, const sd_sample *image) {
    char name[2][4200];
    uint32_t first = 0;
    if (image->h == p->h && image->w == p->w)
        return SD_OK;
    while (p->left[0][first])
        first++;
    sd_pack_input_name(&p->input, p->spec->source, test, index, name[0]);
    sd_pack_input_name(&p->input, p->spec->source, false, first, name[1]);
    return sd_fail(
        SD_ERR_DATA,
        "%s: has %d x %d pixels, and %s has %d x %d; decoded images must have one size (leave --decoded out)", name[0],
        image->w, image->h, name[1], p->w, p->h);
}

static sd_status append(pack *p, bool test, uint32_t index, const sd_pack_item *item) {
    const size_t pixels = (size_t)p->h * (size_t)p->w * SD_CHANNELS;
    const uint32_t n = p->taken[test]++;
    p->tables.labels[test][n] = item->image.label;
    if (!test)
        sd_moments_merge(&p->moments, &item->moments);
    if (!p->input.encoded) {
        SD_TRY(check_size(p, test, index, &item->image));
        return sd_pack_file_append(&p->file, item->image.pixels, pixels);
    }
    p->tables.offsets[test][n + 1] = p->tables.offsets[test][n] + item->n_bytes;
    return sd_pack_file_append(&p->file, item->bytes, item->n_bytes);
}

static sd_status pack_part(pack *p, bool test) {
    if (p->file.header.images[test] == 0)
        return SD_OK;
    sd_pack_file_begin(&p->file, test);
    SD_TRY(for_images(p, test, "packing", append));
    return sd_pack_file_end(&p->file);
}

static const char *name_of(const sd_source *source, uint32_t class, char number[16]) {
    if (source->class_name)
        return source->class_name(source, (int)class);
    snprintf(number, 16, "%u", class);
    return number;
}

static sd_status set_names(pack *p) {
    const sd_source *source = p->input.source;
    const uint32_t classes = p->file.header.classes;
    size_t longest = 0;
    char number[16];
    for (uint32_t c = 0; c < classes; c++) {
        const size_t bytes = strlen(name_of(source, c, number));
        longest = bytes > longest ? bytes : longest;
    }
    p->tables.name_bytes = longest + 1;
    if (p->tables.name_bytes > SD_PACKED_MOST_NAMES_BYTES / classes)
        return sd_fail(SD_ERR_DATA, "%s: the names of its %u classes have more than %d bytes", p->spec->source, classes,
                       SD_PACKED_MOST_NAMES_BYTES);
    SD_TRY(sd_alloc(&p->tables.names, classes, p->tables.name_bytes));
    for (uint32_t c = 0; c < classes; c++)
        strcpy(p->tables.names + c * p->tables.name_bytes, name_of(source, c, number));
    return SD_OK;
}

static sd_status finish(pack *p, sd_pack_info *info) {
    sd_packed_header *h = &p->file.header;
    SD_TRY(check_kept(p, p->taken[0], p->taken[1]));
    h->images[0] = p->taken[0];
    h->images[1] = p->taken[1];
    sd_moments_get(&p->moments, h->mean, h->deviation);
    SD_TRY(set_names(p));
    SD_TRY(sd_pack_file_finish(&p->file, &p->tables, &p->spec->watch));
    *info = (sd_pack_info){.encoded = p->input.encoded,
                           .height = p->h,
                           .width = p->w,
                           .classes = (int)h->classes,
                           .images = {h->images[0], h->images[1]},
                           .left_out = p->left_out,
                           .bytes = h->file_bytes};
    return SD_OK;
}

static sd_status allocate(pack *p) {
    SD_TRY(sd_alloc(&p->items, SLAB_IMAGES, sizeof *p->items));
    for (int test = 0; test < 2; test++) {
        const size_t images = sd_pack_input_images(&p->input, test);
        p->all += images;
        SD_TRY(sd_alloc(&p->left[test], images + 1, 1));
        SD_TRY(sd_alloc(&p->tables.labels[test], images + 1, sizeof(int32_t)));
        if (p->input.encoded)
            SD_TRY(sd_alloc(&p->tables.offsets[test], images + 1, sizeof(uint64_t)));
    }
    return SD_OK;
}

static sd_status run(pack *p, sd_pack_info *info) {
    sd_packed_header header;
    SD_TRY(sd_pack_input_open(p->spec, &p->input));
    SD_TRY(allocate(p));
    if (p->spec->skip_bad && p->input.listing && !p->input.encoded)
        SD_TRY(find_bad(p));
    SD_TRY(describe(p, &header));
    SD_TRY(sd_pack_file_create(p->spec->out, &header, &p->file));
    SD_TRY(pack_part(p, false));
    SD_TRY(pack_part(p, true));
    return finish(p, info);
}

sd_status sd_pack(const sd_pack_spec *spec, sd_pack_info *info) {
    pack p = {.spec = spec, .file = {.fd = -1}};
    const sd_status status = run(&p, info);
    sd_pack_file_discard(&p.file); /* of a finished one there is no OUT.part */
    for (int i = 0; p.items && i < SLAB_IMAGES; i++)
        sd_pack_item_free(&p.items[i]);
    free(p.items);
    free(p.left[0]);
    free(p.left[1]);
    sd_packed_tables_free(&p.tables);
    sd_pack_input_close(&p.input);
    return status;
}
