#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "sdtrain/file.h"
#include "sdtrain/report.h"

static sd_status failed(const sd_csv *csv) {
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", csv->path, strerror(errno));
}

sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t keep_bytes) {
    uint64_t kept = keep_bytes;
    snprintf(csv->path, sizeof csv->path, "%s/%s", folder, name);
    SD_TRY(sd_file_open_log(csv->path, &kept, &csv->file));
    if (kept < keep_bytes)
        sd_log_warn("%s: does not hold the rows up to the checkpoint; it goes on without them", csv->path);
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
