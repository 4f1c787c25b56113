/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdtrain/arena.h"

enum { PATH_BYTES = 4096 };

static sd_status failed(const char *path) {
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
}

/* ---- reading ---- */

sd_status sd_file_open(const char *path, int *fd, size_t *n_bytes) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* O_NONBLOCK: does not wait for the writer of a pipe */
    if (*fd < 0)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    if (fstat(*fd, &info) == 0 && S_ISREG(info.st_mode)) {
        *n_bytes = (size_t)info.st_size;
        return SD_OK;
    }
    close(*fd);
    *fd = -1;
    return sd_fail(SD_ERR_DATA, "%s: is not a regular file", path);
}

sd_status sd_file_read(int fd, const char *path, void *bytes, size_t n_bytes) {
    unsigned char *at = bytes;
    while (n_bytes > 0) {
        const ssize_t got = read(fd, at, n_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", path, got < 0 ? strerror(errno) : "it ends early");
        at += got;
        n_bytes -= (size_t)got;
    }
    return SD_OK;
}

static sd_status get_open(int fd, const char *path, size_t most_bytes, char **text, size_t n_bytes) {
    if (n_bytes > most_bytes)
        return sd_fail(SD_ERR_DATA, "%s: has %zu bytes, where at most %zu are expected", path, n_bytes, most_bytes);
    SD_TRY(sd_alloc(text, n_bytes + 1, 1));
    return sd_file_read(fd, path, *text, n_bytes);
}

sd_status sd_file_get(const char *path, size_t most_bytes, char **text, size_t *n_bytes) {
    int fd;
    *text = NULL;
    SD_TRY(sd_file_open(path, &fd, n_bytes));
    const sd_status status = get_open(fd, path, most_bytes, text, *n_bytes);
    close(fd);
    if (status == SD_OK)
        return SD_OK;
    free(*text);
    *text = NULL;
    return status;
}

/* ---- to the disk ---- */

/* Whether errno says that the file system lacks an operation, not that the operation failed. */
static bool is_missing(int reason) {
    return reason == EINVAL || reason == ENOSYS || reason == EOPNOTSUPP || reason == EPERM;
}

static void warn_of_power_failure(const char *path) {
    sd_log_warn_once("%s: cannot be synced here (%s): a power failure may take what was written last", path,
                     strerror(errno));
}

sd_status sd_file_sync(int fd, const char *path) {
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return SD_OK;
    if (!is_missing(errno))
        return failed(path);
    warn_of_power_failure(path);
    return SD_OK;
}

/* A folder may be writable but not readable, and some file systems cannot sync folders: neither is an error. */
sd_status sd_file_sync_folder_of(const char *path) {
    char copy[PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd) == 0) {
        close(fd);
        return SD_OK;
    }
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    errno = reason;
    if (!is_missing(reason) && reason != EBADF && reason != EISDIR && reason != EACCES)
        return failed(folder);
    warn_of_power_failure(folder);
    return SD_OK;
}

/* Whether path is a folder; on some file systems mkdir() fails with EACCES or EROFS on an existing one. Keeps errno. */
static bool is_folder(const char *path) {
    struct stat info;
    const int reason = errno;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    errno = reason;
    return folder;
}

sd_status sd_file_make_folders(const char *path, size_t *made_from) {
    char part[PATH_BYTES];
    const size_t bytes = strlen(path);
    *made_from = bytes;
    for (size_t end = 1; end <= bytes; end++)
        if (path[end] == '/' || path[end] == '\0') {
            snprintf(part, sizeof part, "%.*s", (int)end, path);
            if (mkdir(part, 0777) == 0) {
                *made_from = end - 1 < *made_from ? end - 1 : *made_from;
                SD_TRY(sd_file_sync_folder_of(part));
            } else if (errno != EEXIST && !is_folder(part)) {
                return sd_fail(SD_ERR_IO, "%s: the folder cannot be made: %s", part, strerror(errno));
            }
        }
    return SD_OK;
}

/* Some protocols (SFTP) do not replace a file by a rename: then it is removed first. */
static int rename_over(const char *from, const char *to) {
    struct stat info;
    if (rename(from, to) == 0)
        return 0;
    const int reason = errno;
    const bool refused = (reason == EEXIST || reason == EPERM) && lstat(to, &info) == 0 && !S_ISDIR(info.st_mode);
    if (refused && unlink(to) == 0)
        return rename(from, to);
    errno = reason;
    return -1;
}

sd_status sd_file_rename(const char *from, const char *to) {
    if (rename_over(from, to) != 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
    return sd_file_sync_folder_of(to);
}

/* ---- writing ---- */

static sd_status refuse_kind(const char *path, mode_t mode) {
    if (S_ISLNK(mode))
        return sd_fail(SD_ERR_IO, "%s: is a symbolic link, and files of a run are not written through links; remove it",
                       path);
    return sd_fail(SD_ERR_IO, "%s: cannot be written: it is not a regular file", path);
}

/* SD_ERR_IO if anything but a regular file exists at path. */
static sd_status check_place(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? SD_OK : failed(path);
    return S_ISREG(info.st_mode) ? SD_OK : refuse_kind(path, info.st_mode);
}

static void part_of(const char *path, char part[PATH_BYTES]) { snprintf(part, PATH_BYTES, "%s.part", path); }

void sd_file_discard_part(const char *path) {
    char part[PATH_BYTES];
    part_of(path, part);
    unlink(part);
}

static int write_all(int fd, const unsigned char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

/* Writes bytes and then end to a new file, and syncs it. path: for the message. */
static sd_status write_part(const char *part, const char *path, const void *bytes, size_t n, const char *end) {
    const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be created: %s", part, strerror(errno));
    bool written = write_all(fd, bytes, n) == 0 && write_all(fd, (const unsigned char *)end, strlen(end)) == 0;
    int reason = errno;
    sd_status status = written ? sd_file_sync(fd, path) : SD_OK;
    if (close(fd) != 0 && errno != EINTR && written) { /* network file systems may report a full disk only here */
        written = false;
        reason = errno;
    }
    if (written)
        return status;
    return sd_fail(SD_ERR_IO, "%s: cannot be written (%zu bytes): %s", path, n, strerror(reason));
}

static sd_status replace(const char *path, const void *bytes, size_t n, const char *end) {
    char part[PATH_BYTES];
    part_of(path, part);
    sd_file_discard_part(path);
    sd_status status = write_part(part, path, bytes, n, end);
    if (status != SD_OK) {
        unlink(part);
        return status;
    }
    status = sd_file_rename(part, path);
    if (status != SD_OK && access(path, F_OK) == 0) /* else PATH.part is the only copy */
        unlink(part);
    return status;
}

sd_status sd_file_write(const char *path, const void *bytes, size_t n) { return replace(path, bytes, n, ""); }

sd_status sd_file_put(const char *path, const char *text) {
    const size_t n = strlen(text);
    SD_TRY(check_place(path));
    return replace(path, text, n, n > 0 && text[n - 1] == '\n' ? "" : "\n");
}

sd_status sd_file_open_log(const char *path, uint64_t *keep_bytes, FILE **file) {
    struct stat info;
    SD_TRY(check_place(path));
    /* path may have changed since check_place(): O_NOFOLLOW, and O_NONBLOCK for a pipe without a reader. */
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0)
        return failed(path);
    sd_status status = fstat(fd, &info) == 0 ? SD_OK : failed(path);
    if (status == SD_OK && !S_ISREG(info.st_mode))
        status = refuse_kind(path, info.st_mode);
    if (status == SD_OK && *keep_bytes > (uint64_t)info.st_size)
        *keep_bytes = (uint64_t)info.st_size;
    /* Cut only if longer: an append-only file (chattr +a) refuses ftruncate(). */
    if (status == SD_OK && *keep_bytes < (uint64_t)info.st_size && ftruncate(fd, (off_t)*keep_bytes) != 0)
        status = failed(path);
    if (status == SD_OK && info.st_size == 0)
        status = sd_file_sync_folder_of(path);
    *file = status == SD_OK ? fdopen(fd, "a") : NULL;
    if (status == SD_OK && !*file)
        status = failed(path);
    if (status != SD_OK)
        close(fd);
    return status;
}

void sd_file_reserve_standard_streams(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}
