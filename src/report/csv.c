/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/csv.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/file.h"

static sd_status failed(const sd_csv *csv) {
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", csv->path, strerror(errno));
}

/* Whether a line is a row; *key: its first column. */
static bool is_row(const char *line, uint64_t *key) {
    char *end;
    if (!isdigit((unsigned char)line[0]))
        return false;
    *key = strtoull(line, &end, 10);
    return *end == ',';
}

uint64_t sd_csv_bytes_up_to(const char *folder, const char *name, uint64_t last) {
    char path[sizeof((sd_csv *)0)->path];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    char *line = NULL;
    size_t room = 0;
    uint64_t bytes = 0, key;
    for (ssize_t n; file && (n = getline(&line, &room, file)) > 0; bytes += (uint64_t)n)
        if (line[n - 1] != '\n' || (is_row(line, &key) && key > last))
            break;
    free(line);
    if (file)
        fclose(file);
    return bytes;
}

sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t last,
                      uint64_t had_bytes) {
    snprintf(csv->path, sizeof csv->path, "%s/%s", folder, name);
    uint64_t kept = had_bytes > 0 ? sd_csv_bytes_up_to(folder, name, last) : 0;
    SD_TRY(sd_file_open_log(csv->path, &kept, &csv->file));
    if (kept != had_bytes)
        sd_log_warn("%s: has been changed since the checkpoint was written: the rows up to it take %llu bytes, where "
                    "they took %llu; it goes on behind them",
                    csv->path, (unsigned long long)kept, (unsigned long long)had_bytes);
    return kept > 0 ? SD_OK : sd_csv_row(csv, "%s\n", header);
}

sd_status sd_csv_row(sd_csv *csv, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int written = vfprintf(csv->file, format, arguments);
    va_end(arguments);
    return written >= 0 && fflush(csv->file) == 0 ? SD_OK : failed(csv);
}

sd_status sd_csv_sync(const sd_csv *csv) { return csv->file ? sd_file_sync(fileno(csv->file), csv->path) : SD_OK; }

sd_status sd_csv_length(sd_csv *csv, uint64_t *bytes) {
    *bytes = 0;
    if (!csv->file)
        return SD_OK;
    const long at = fseek(csv->file, 0, SEEK_END) == 0 ? ftell(csv->file) : -1;
    if (at < 0)
        return failed(csv);
    *bytes = (uint64_t)at;
    return SD_OK;
}

void sd_csv_close(sd_csv *csv) {
    if (csv->file)
        fclose(csv->file);
    csv->file = NULL;
}

const char *sd_csv_number(double value, char text[32]) {
    if (isnan(value))
        text[0] = '\0';
    else
        snprintf(text, 32, "%.9g", value);
    return text;
}
