/* Changes a checkpoint as no accident does: sdtrain-alter FILE DATASET NUMBER puts a number in place of the dataset's first one and
 * seals the file again. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../../src/checkpoint/seal.h"

static int fail(const char *what) {
    fprintf(stderr, "sdtrain-alter: %s\n", what);
    return EXIT_FAILURE;
}

static int change(const char *path, const char *name, double number) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    double *values = calloc((size_t)H5Sget_simple_extent_npoints(space), sizeof *values);
    herr_t done = H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    values[0] = number;
    if (done >= 0)
        done = H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    free(values);
    H5Sclose(space);
    H5Dclose(dataset);
    return H5Fclose(file) >= 0 && done >= 0;
}

int main(int argc, char **argv) {
    unsigned char *bytes;
    size_t n;
    if (argc != 4)
        return fail("FILE DATASET NUMBER are expected");
    if (!change(argv[1], argv[2], strtod(argv[3], NULL)))
        return fail("HDF5 failed");
    if (sd_file_read(argv[1], &bytes, &n) != SD_OK)
        return fail(sd_error_message());
    sd_seal_make(bytes, n);
    FILE *file = fopen(argv[1], "wb");
    int good = file && fwrite(bytes, 1, n, file) == n;
    good = file && fclose(file) == 0 && good;
    free(bytes);
    return good ? EXIT_SUCCESS : fail("the file cannot be written");
}
