/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/tokenizer.h"
#include "sdtrain/vocabulary.h"

static sd_status add_lines(sd_vocabulary *vocabulary, const char *path, FILE *file, char **line, uint64_t *lines) {
    size_t capacity = 0, bad;
    for (ssize_t n; errno = 0, (n = getline(line, &capacity, file)) >= 0;) {
        ++*lines;
        if (!sd_utf8_check(*line, (size_t)n, &bad))
            return sd_fail(SD_ERR_DATA, "%s:%llu: byte %zu of the line is no UTF-8; texts are expected", path,
                           (unsigned long long)*lines, bad + 1);
        SD_TRY(sd_vocabulary_add(vocabulary, *line, (size_t)n));
    }
    if (errno == ENOMEM)
        return sd_fail(SD_ERR_MEMORY, "%s:%llu: out of memory for a line", path, (unsigned long long)*lines + 1);
    return ferror(file) ? sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno)) : SD_OK;
}

sd_status sd_vocabulary_add_file(sd_vocabulary *vocabulary, const char *path, uint64_t *lines) {
    char *line = NULL;
    FILE *file = fopen(path, "rbe");
    *lines = 0;
    if (!file)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    const sd_status status = add_lines(vocabulary, path, file, &line, lines);
    free(line);
    fclose(file);
    return status;
}
