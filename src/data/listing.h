/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the list of the images of a data set whose classes are folders.
 *
 *     FOLDER/train/CLASS/.../IMAGE  and  FOLDER/val/CLASS/.../IMAGE,  or  FOLDER/CLASS/.../IMAGE
 *
 * Local. A list is one block of memory without pointers: rank 0 scans the disk, the others receive the bytes. An image
 * costs 16 bytes and its file's name. Labels and order are those of torchvision.datasets.ImageFolder. */
#ifndef SDTRAIN_DATA_LISTING_H
#define SDTRAIN_DATA_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "directory.h"
#include "source.h"

/* ---- scanning (listing_scan.c) ---- */

/* Lists the images of the data set in folder.
 *
 * Split: the folder `train` or `training` holds the training images; beside it `val`, `valid`, `validation`, `eval`,
 * `evaluation`, or else `test`, holds the test images (upper and lower case are one; the first of this list is
 * taken). A warning names folders that are not used. Without any of these there are no test images, and without a
 * training folder the classes are the folders in `folder` itself. A folder `train` without folders in it is a class if
 * other classes are beside it.
 *
 * Classes: the folders in the training folder, sorted by bytes, which is by code point for UTF-8; a warning says where
 * timm's order (natural and case-blind) differs. Test images have the labels of these classes; of some there may be
 * none.
 *
 * Images: files of a class, at any depth, whose name ends in .jpg, .jpeg or .png (upper and lower case are one), hidden
 * or not; sorted by the path of their folder, then by name, both by bytes. Symbolic links are followed. Not looked at:
 * whether a file holds what its name says.
 *
 * SD_ERR_NOINPUT: a folder is missing or cannot be read, or a file has gone. SD_ERR_DATA: there is no class; a class
 * has no image; a test class is no training class; an image of another format (.ppm .bmp .pgm .tif .tiff .webp .gif);
 * an image that is no regular file; a link leads back to a folder that it lies in; a path is longer than a listing
 * takes. SD_ERR_MEMORY. The message names the path. *listing is NULL on failure. */
sd_status sd_listing_scan(const char *folder, sd_listing **listing);

/* ---- reading ---- */

int32_t sd_listing_classes(const sd_listing *listing);
const char *sd_listing_class(const sd_listing *listing, int32_t label);

/* Of image index, less than sd_listing_images(). Its path: sd_listing_path(). */
int32_t sd_listing_label(const sd_listing *listing, bool test, uint32_t index);
uint64_t sd_listing_file_bytes(const sd_listing *listing, bool test, uint32_t index); /* when it was scanned */

/* XXH3 over the names of classes and, in order, each image's path in the folder, file size and label. Does not depend
 * on where the folder lies, nor on what the files hold. Equal on machines of one byte order. */
uint64_t sd_listing_fingerprint(const sd_listing *listing);

/* A listing as bytes, and such bytes as a listing: as sd_found_bytes() and sd_found_of_bytes(). */
void sd_listing_pack(const sd_listing *listing, const void **bytes, size_t *n_bytes);
sd_status sd_listing_unpack(void *bytes, size_t n_bytes, sd_listing **listing);

/* ---- building: begin; classes; folders of training images, each with its images; begin_test; the same; finish ---- */

/* An array that grows. */
typedef struct sd_listing_part {
    void *memory;
    size_t n, capacity; /* objects */
} sd_listing_part;

/* Begins as {0}. abandon gives its memory back, at any time. */
typedef struct sd_listing_builder {
    sd_listing_part images, folders, classes, text;
    uint64_t n_train;
    size_t root_bytes, folder_bytes; /* lengths of the root's path and the last folder's */
    bool test;
} sd_listing_builder;

/* All return SD_ERR_MEMORY; SD_ERR_DATA beyond what the format takes: 2^32 - 1 images, folders and bytes of names,
 * 2^31 - 1 classes, SD_LISTING_PATH_BYTES of a path. */
sd_status sd_listing_begin(sd_listing_builder *builder, const char *root);
sd_status sd_listing_add_class(sd_listing_builder *builder, const char *name);
/* path: from root; may be empty, or end in a slash. Images that are added lie in the folder that was added last, of
 * which there must be one. */
sd_status sd_listing_add_folder(sd_listing_builder *builder, const char *path, int32_t label);
sd_status sd_listing_add_image(sd_listing_builder *builder, const char *name, uint64_t file_bytes);
/* A folder and its images; without images neither. */
sd_status sd_listing_add_images(sd_listing_builder *builder, const char *path, const sd_directory_entries *images,
                                int32_t label);
void sd_listing_begin_test(sd_listing_builder *builder);
sd_status sd_listing_finish(sd_listing_builder *builder, sd_listing **listing); /* the builder is {0} then */
void sd_listing_abandon(sd_listing_builder *builder);

#endif
