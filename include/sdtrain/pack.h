/* SPDX-License-Identifier: Apache-2.0 */
/* Packed sets: all images of a data set in one HDF5 file, for dataset = hdf5.
 *
 * Sample i of a packed set is sample i of its source, with the same label, and decodes to the same pixels, so a run of
 * the one has the bits of a run of the other where normalisation, geometry and augmentation are the same.
 *
 * Local. These functions call HDF5, which checkpoints call as well: not both at the same time. */
#ifndef SDTRAIN_PACK_H
#define SDTRAIN_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is asked and told on the way; each may be NULL. One thread calls them, several times a second. */
typedef struct sd_pack_watch {
    bool (*stopped)(void); /* true: end with SD_STOPPED */
    /* doing: "checking", "packing", "verifying", of images or bytes. */
    void (*progress)(void *context, const char *doing, uint64_t done, uint64_t all);
    void (*left_out)(void *context, const char *line); /* "path: reason" of a bad image */
    void *context;
} sd_pack_watch;

typedef struct sd_pack_spec {
    /* A folder as of dataset = folder; a folder (or its parent) of CIFAR-10's or CIFAR-100's binary files; or, if plain
     * is given, the name of a plain HDF5 file, for messages. */
    const char *source;
    const char *out;
    bool decoded;  /* pixels also of JPEG and PNG files, which then must all have one size */
    bool skip_bad; /* leave out files that cannot be decoded; else the first one is an error */
    int plain;     /* a socket to a process in sd_pack_serve_plain(); -1: source is a folder */
    sd_pack_watch watch;
} sd_pack_spec;

typedef struct sd_pack_info {
    bool encoded;
    int height, width; /* of decoded images */
    int classes;
    uint32_t images[2]; /* training, test */
    uint32_t left_out;  /* bad ones (sd_pack() only) */
    uint64_t bytes;     /* of the file */
} sd_pack_info;

/* Packs a data set. Every image is decoded once; JPEG and PNG files are stored as they are unless `decoded`. Writes
 * OUT.part, reads it back and compares digests, and renames it; on failure nothing is left under either name, and an
 * older OUT stays. At most about 64 MB of images are in memory, or one image a thread where that is more; OpenMP
 * threads decode. The same images give the same file.
 *
 * SD_ERR_NOINPUT, SD_ERR_DATA (also: images of two sizes with `decoded`; a file that changes meanwhile), SD_ERR_IO,
 * SD_ERR_MEMORY, SD_STOPPED. */
sd_status sd_pack(const sd_pack_spec *spec, sd_pack_info *info);

/* Whether a file begins as packed sets do; false also if it cannot be read. */
bool sd_pack_is(const char *path);

/* Reads a packed set whole: header, labels, offsets, and the digest of every byte. SD_ERR_NOINPUT, SD_ERR_DATA (which
 * array), SD_ERR_MEMORY, SD_STOPPED. */
sd_status sd_pack_verify(const char *path, const sd_pack_watch *watch, sd_pack_info *info);

/* Reads a plain HDF5 file and answers sd_pack() on a socket, until that closes it. Such files are parsed by HDF5, which
 * may crash on what is damaged: call it in a process of its own, which then ends.
 *
 * Images: uint8, [N, H, W, 3] or [N, 3, H, W]; labels: integers from 0, [N] or [N, 1]; as IMAGES and LABELS in the file
 * or in a group of the split, or as SPLIT_IMAGES or IMAGES_SPLIT. SPLIT: train, training; for test images val, valid,
 * validation, test. IMAGES: images, image, img, x, X, data. LABELS: labels, label, y, Y, targets, target. Chunks and
 * filters as HDF5 reads them; no links to other files. Errors go to sd_pack(): SD_ERR_DATA, SD_ERR_NOINPUT. */
void sd_pack_serve_plain(const char *path, int socket);

#ifdef __cplusplus
}
#endif
#endif
