#include "sdtrain/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static sd_status failed(const char *path) {
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
}

static sd_status refuse_kind(const char *path, mode_t mode) {
    if (S_ISLNK(mode))
        return sd_fail(SD_ERR_IO, "%s: is a symbolic link, and files of a run are not written through links; remove it",
                       path);
    return sd_fail(SD_ERR_IO, "%s: cannot be written: it is not a regular file", path);
}

/* What stands under a name that is to be written must be a file, or nothing. */
static sd_status check_place(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? SD_OK : failed(path);
    return S_ISREG(info.st_mode) ? SD_OK : refuse_kind(path, info.st_mode);
}

sd_status sd_file_put(const char *path, const char *text) {
    char temporary[PATH_BYTES];
    SD_TRY(check_place(path));
    snprintf(temporary, sizeof temporary, "%s.part", path);
    unlink(temporary); /* of a run that was killed */
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return failed(path);
    const size_t bytes = strlen(text);
    const char *end = bytes > 0 && text[bytes - 1] == '\n' ? "" : "\n";
    bool good = fprintf(file, "%s%s", text, end) >= 0 && fflush(file) == 0 && fsync(fd) == 0;
    int reason = errno;
    if (fclose(file) != 0 && good) {
        good = false;
        reason = errno;
    }
    if (good && rename(temporary, path) != 0) {
        good = false;
        reason = errno;
    }
    if (good)
        return SD_OK;
    unlink(temporary);
    errno = reason;
    return failed(path);
}

sd_status sd_file_open_log(const char *path, uint64_t *keep_bytes, FILE **file) {
    struct stat info;
    SD_TRY(check_place(path));
    /* Between the two the place may change: O_NOFOLLOW, and no waiting for the reader of a pipe. */
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0)
        return failed(path);
    sd_status status = fstat(fd, &info) == 0 ? SD_OK : failed(path);
    if (status == SD_OK && !S_ISREG(info.st_mode))
        status = refuse_kind(path, info.st_mode);
    if (status == SD_OK && *keep_bytes > (uint64_t)info.st_size)
        *keep_bytes = (uint64_t)info.st_size;
    if (status == SD_OK && ftruncate(fd, (off_t)*keep_bytes) != 0)
        status = failed(path);
    *file = status == SD_OK ? fdopen(fd, "a") : NULL;
    if (status == SD_OK && !*file)
        status = failed(path);
    if (status != SD_OK)
        close(fd);
    return status;
}
