/* SPDX-License-Identifier: Apache-2.0 */
/* A library to preload: system calls that fail as on file systems and in containers that do not have them.
 *
 *     SD_HOSTILE="symlink:EPERM fsync:EINVAL:/checkpoints flock:0"
 *
 * are rules CALL:ERRNO[:PART], separated by spaces: CALL fails with ERRNO, or with 0 does nothing and succeeds, where
 * the path (of a link or a rename the new name, of a descriptor the file behind it) holds PART. Calls: those below;
 * fsync_folder is fsync of a folder, rename that over a file that is there. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static const struct {
    const char *name;
    int number;
} reasons[] = {{"0", 0},           {"EPERM", EPERM},   {"EINVAL", EINVAL}, {"ENOSYS", ENOSYS}, {"ENOTSUP", ENOTSUP},
               {"ENOLCK", ENOLCK}, {"EBADF", EBADF},   {"EIO", EIO},       {"EROFS", EROFS},   {"EACCES", EACCES},
               {"EEXIST", EEXIST}, {"ENOENT", ENOENT}, {"EBUSY", EBUSY},   {"EINTR", EINTR}};

static int number_of(const char *name) {
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (!strcmp(reasons[i].name, name))
            return reasons[i].number;
    fprintf(stderr, "hostile: errno %s is not known\n", name);
    abort();
}

/* Whether a rule holds for a call on a path; errno is set to its number. */
static bool is_refused(const char *call, const char *path) {
    const char *rules = getenv("SD_HOSTILE");
    char text[1024], *rest = text;
    snprintf(text, sizeof text, "%s", rules ? rules : "");
    for (char *rule; (rule = strsep(&rest, " "));) {
        const char *name = strsep(&rule, ":"), *reason = strsep(&rule, ":");
        if (!reason || strcmp(name, call) != 0 || (rule && !strstr(path, rule)))
            continue;
        errno = number_of(reason);
        return true;
    }
    return false;
}

static bool is_refused_at(const char *call, int fd) {
    char link[64], path[PATH_BYTES] = "";
    const int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t bytes = readlink(link, path, sizeof path - 1);
    path[bytes > 0 ? bytes : 0] = '\0';
    errno = before;
    return is_refused(call, path);
}

static int answer(void) { return errno ? -1 : 0; }

/* The next function of a name: the one of the C library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int symlink(const char *to, const char *path) {
    return is_refused("symlink", path) ? answer() : REAL(symlink)(to, path);
}

int rename(const char *from, const char *to) {
    struct stat info;
    return lstat(to, &info) == 0 && is_refused("rename", to) ? answer() : REAL(rename)(from, to);
}

int unlink(const char *path) { return is_refused("unlink", path) ? answer() : REAL(unlink)(path); }

int mkdir(const char *path, mode_t mode) { return is_refused("mkdir", path) ? answer() : REAL(mkdir)(path, mode); }

int fsync(int fd) {
    struct stat info;
    const bool folder = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
    return is_refused_at(folder ? "fsync_folder" : "fsync", fd) ? answer() : REAL(fsync)(fd);
}

int flock(int fd, int operation) { return is_refused_at("flock", fd) ? answer() : REAL(flock)(fd, operation); }

int ftruncate(int fd, off_t bytes) { return is_refused_at("ftruncate", fd) ? answer() : REAL(ftruncate)(fd, bytes); }

int futimens(int fd, const struct timespec times[2]) {
    return is_refused_at("futimens", fd) ? answer() : REAL(futimens)(fd, times);
}

/* It closes all the same, as the kernel does. */
int close(int fd) {
    const bool refused = is_refused_at("close", fd);
    const int reason = errno, result = REAL(close)(fd);
    errno = refused ? reason : errno;
    return refused ? answer() : result;
}

struct dirent *readdir(DIR *directory) {
    return is_refused_at("readdir", dirfd(directory)) ? NULL : REAL(readdir)(directory);
}

int madvise(void *memory, size_t bytes, int advice) {
    return is_refused("madvise", "") ? answer() : REAL(madvise)(memory, bytes, advice);
}

/* As on a machine of more processors than a cpu_set_t has room for. */
int sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *mask) {
    return bytes <= sizeof *mask && is_refused("sched_getaffinity", "") ? answer()
                                                                        : REAL(sched_getaffinity)(process, bytes, mask);
}

int prctl(int option, ...) {
    va_list arguments;
    va_start(arguments, option);
    unsigned long word[4];
    for (int i = 0; i < 4; i++)
        word[i] = va_arg(arguments, unsigned long);
    va_end(arguments);
    return is_refused("prctl", "") ? answer() : REAL(prctl)(option, word[0], word[1], word[2], word[3]);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return is_refused("open", path) ? answer() : REAL(open)(path, flags, mode);
}
