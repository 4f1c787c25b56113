/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdtrain/sdtrain.h"

static char folder[256];
static pid_t owner;

void fuzz_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_folder(void) {
    if (getpid() == owner)
        nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void) {
    if (folder[0])
        return folder;
    const char *parent = getenv("TMPDIR");
    if (!parent || !*parent)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/sdtrain-fuzz-XXXXXX", parent);
    fuzz_require(mkdtemp(folder), "%s cannot be made", folder);
    owner = getpid();
    atexit(remove_folder);
    return folder;
}

void fuzz_write(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    fuzz_require(file, "%s cannot be written", path);
    fuzz_require(fwrite(bytes, 1, n, file) == n && fclose(file) == 0, "%s cannot be written", path);
}

void *fuzz_read(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    fuzz_require(file && fseek(file, 0, SEEK_END) == 0, "%s cannot be read", path);
    *n = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*n + 1);
    fuzz_require(fread(bytes, 1, *n, file) == *n, "%s cannot be read", path);
    fclose(file);
    return bytes;
}

static void write_seeds(const char *to) {
    uint8_t *bytes;
    size_t n;
    for (int i = 0; fuzz_seed(i, &bytes, &n); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/seed-%02d", to, i);
        fuzz_write(path, bytes, n);
        free(bytes);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char option[] = "--write-seeds=";
    sd_log_mute(1); /* warnings are no findings */
    for (int i = 1; i < *argc; i++)
        if (!strncmp((*argv)[i], option, strlen(option))) {
            write_seeds((*argv)[i] + strlen(option));
            exit(EXIT_SUCCESS);
        }
    return 0;
}
