/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. A target is a function of bytes, LLVMFuzzerTestOneInput(), that ends the process where
 * the library breaks its word, and the inputs to begin with, fuzz_seed(). libFuzzer drives it (SD_FUZZ, clang), or
 * driver.c.
 *
 *     TARGET --write-seeds=FOLDER     writes the inputs to begin with into files, for libFuzzer's corpus */
#ifndef SDTRAIN_TESTS_FUZZ_H
#define SDTRAIN_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* Input i to begin with, beside the files of corpus/TARGET; false: there are no more. Caller frees. */
bool fuzz_seed(int i, uint8_t **bytes, size_t *n);

/* Says what was expected, and ends the process as a crash does. */
#define fuzz_require(condition, ...)                                                                                   \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_fail(__FILE__, __LINE__, __VA_ARGS__);                                                                \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A folder of this process in memory (TMPDIR, or /dev/shm), removed when it ends well. */
const char *fuzz_folder(void);
void fuzz_write(const char *path, const void *bytes, size_t n);
void *fuzz_read(const char *path, size_t *n);

/* libFuzzer's coverage counters in this process; NULL and 0 without libFuzzer. */
unsigned char *fuzz_counters(size_t *n);

#endif
