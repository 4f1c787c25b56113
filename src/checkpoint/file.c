#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/arena.h"
#include "seal.h"

enum { PATH_BYTES = 4096 };

sd_status sd_file_read(const char *path, unsigned char **bytes, size_t *n) {
    struct stat info;
    *bytes = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* does not wait for a pipe's writer */
    if (fd < 0)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    sd_status status = SD_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = sd_fail(SD_ERR_DATA, "%s: is not a regular file", path);
    if (status == SD_OK)
        status = sd_alloc(bytes, (size_t)info.st_size + 1, 1);
    for (*n = 0; status == SD_OK && *n < (size_t)info.st_size;) {
        ssize_t got = read(fd, *bytes + *n, (size_t)info.st_size - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", path, strerror(errno));
        if (got <= 0)
            break;
        *n += (size_t)got;
    }
    close(fd);
    if (status != SD_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

static int write_all(int fd, const unsigned char *bytes, size_t n) {
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

static int sync_folder_of(const char *path) {
    char copy[PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

sd_status sd_file_write(const char *path, const unsigned char *bytes, size_t n) {
    char temporary[PATH_BYTES];
    snprintf(temporary, sizeof temporary, "%s.part", path);
    unlink(temporary); /* of a run that was killed */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be created: %s", temporary, strerror(errno));
    bool written = write_all(fd, bytes, n) == 0 && fsync(fd) == 0;
    int reason = errno;
    if (close(fd) != 0 && written) {
        written = false;
        reason = errno;
    }
    if (written && (rename(temporary, path) != 0 || sync_folder_of(path) != 0)) {
        written = false;
        reason = errno;
    }
    if (written)
        return SD_OK;
    unlink(temporary);
    return sd_fail(SD_ERR_IO, "%s: cannot be written (%zu bytes): %s", path, n, strerror(reason));
}
