/* SPDX-License-Identifier: Apache-2.0 */
/* Changes a checkpoint and seals it anew, so that only what is in it is wrong:
 *
 *     alter FILE set DATASET INDEX VALUE    one number (nan, inf, 0x1p-3, ... as strtod reads it)
 *     alter FILE nudge DATASET INDEX        its last bit
 *     alter FILE text DATASET TEXT          another text
 *     alter FILE remove DATASET
 *     alter FILE link NAME OTHER            a link to /x of another file
 */
#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/checkpoint/seal.h"
#include "sdtrain/file.h"

static bool set_number(hid_t file, const char *name, size_t i, const char *value) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        return false;
    hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    const bool is_float = H5Tget_class(stored) == H5T_FLOAT;
    const hid_t type = is_float ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
    int64_t *numbers = calloc(n, sizeof *numbers);
    bool good = i < n && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0;
    if (good && is_float) {
        const double number = strtod(value, NULL);
        memcpy(numbers + i, &number, sizeof number);
    } else if (good) {
        numbers[i] = strtoll(value, NULL, 0);
    }
    good = good && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0;
    free(numbers);
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(dataset);
    return good;
}

static bool nudge(hid_t file, const char *name, size_t i) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        return false;
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const size_t n = (size_t)H5Sget_simple_extent_npoints(space), bytes = H5Tget_size(type);
    unsigned char *values = calloc(n, bytes);
    bool good = i < n && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (good)
        values[i * bytes] ^= 1; /* the lowest bit of a little-endian number */
    good = good && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    free(values);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
    return good;
}

static bool write_text(hid_t file, const char *name, const char *text) {
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool good = dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) >= 0;
    H5Dclose(dataset);
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

/* HDF5 opens a sealed file as it is: the seal is a user block to it. */
static bool change(const char *path, int n, char **words) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    bool good = false;
    if (file < 0)
        return false;
    if (n == 4 && !strcmp(words[0], "set"))
        good = set_number(file, words[1], strtoull(words[2], NULL, 10), words[3]);
    else if (n == 3 && !strcmp(words[0], "nudge"))
        good = nudge(file, words[1], strtoull(words[2], NULL, 10));
    else if (n == 3 && !strcmp(words[0], "text"))
        good = write_text(file, words[1], words[2]);
    else if (n == 2 && !strcmp(words[0], "remove"))
        good = H5Ldelete(file, words[1], H5P_DEFAULT) >= 0;
    else if (n == 3 && !strcmp(words[0], "link"))
        good = H5Lcreate_external(words[2], "/x", file, words[1], H5P_DEFAULT, H5P_DEFAULT) >= 0;
    return H5Fclose(file) >= 0 && good;
}

int main(int argc, char **argv) {
    char *bytes;
    size_t n;
    if (argc < 4 || !change(argv[1], argc - 2, argv + 2)) {
        fprintf(stderr, "alter: the change cannot be made\n");
        return 1;
    }
    if (sd_file_get(argv[1], SIZE_MAX - 1, &bytes, &n) != SD_OK)
        return 1;
    sd_seal_make((unsigned char *)bytes, n);
    const sd_status status = sd_file_write(argv[1], bytes, n);
    free(bytes);
    return status != SD_OK;
}
