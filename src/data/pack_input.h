/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the images that a packed set is made of. */
#ifndef SDTRAIN_DATA_PACK_INPUT_H
#define SDTRAIN_DATA_PACK_INPUT_H

#include "listing.h"
#include "normalisation.h"
#include "sdtrain/pack.h"
#include "source.h"

typedef struct sd_pack_input {
    sd_source *source;
    const sd_listing *listing; /* of a folder; else NULL */
    bool encoded;              /* files are taken as they are */
    sd_found *found;
} sd_pack_input;

/* Begins as {0}. Closed by the caller, also on failure. */
sd_status sd_pack_input_open(const sd_pack_spec *spec, sd_pack_input *input);
void sd_pack_input_close(sd_pack_input *input);

uint32_t sd_pack_input_images(const sd_pack_input *input, bool test);
/* Its path, or "SOURCE: train image 17". */
void sd_pack_input_name(const sd_pack_input *input, const char *source, bool test, uint32_t index, char name[4200]);

/* One image, read and decoded. Begins as {0}; its memory is used again, and freed by the caller. */
typedef struct sd_pack_item {
    sd_outcome outcome;
    sd_sample image; /* decoded: pixels; encoded: none */
    char *bytes;     /* encoded: the file; else NULL */
    size_t n_bytes;
    sd_moments moments; /* of its pixels */
} sd_pack_item;

/* Sets the outcome and, on success, the rest. h, w: pixels of another size are not kept; 0: of any. Threads may call
 * it, each with its item. */
void sd_pack_input_fetch(const sd_pack_input *input, bool test, uint32_t index, int h, int w, sd_pack_item *item);
void sd_pack_item_free(sd_pack_item *item);

/* The source of a plain HDF5 file that another process reads (plain_wire.h). The socket stays the caller's. */
sd_status sd_plain_open(const char *path, int socket, sd_source **source);

#endif
