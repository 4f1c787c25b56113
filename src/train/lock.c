/* One run a folder: OUTPUT/NAME/.lock is held by rank 0 from before it looks into the folder until its end, and says who holds it.
 *
 * Two signs tell a living run from what a dead one has left. flock(2): the kernel drops it when the process dies, however it dies; where
 * it is refused, the holder lives. But network file systems may keep it to one host or not know it. So the holder also touches the
 * file every few seconds, and a lock of another host (or where there is no flock) is watched for longer than that: it lives if its
 * time moves. No clock is compared with another host's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/file.h"

enum {
    TOUCH_SECONDS = 4,
    WATCH_SECONDS = 3 * TOUCH_SECONDS,
    OLD_SECONDS = 3600,
    LOOK_NANOSECONDS = 200000000,
    HOLDER_BYTES = 256
};
_Static_assert((int)SD_LOCK_SECONDS > (int)WATCH_SECONDS, "the watchdog must allow for the watching");

struct sd_lock {
    int fd;
    char folder[SD_FOLDER_BYTES], path[SD_FOLDER_BYTES + 16];
    size_t made_from; /* of folder: parts that end beyond were made for the lock */
    char holder[HOLDER_BYTES];
    double touched; /* clock */
};

/* Of a folder that is there some file systems say EACCES or EROFS, where EEXIST is meant. errno stays. */
static bool is_folder(const char *path) {
    struct stat info;
    const int reason = errno;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    errno = reason;
    return folder;
}

sd_status sd_run_make_folders(const char *path, size_t *made_from) {
    char part[SD_FOLDER_BYTES + 16];
    *made_from = strlen(path);
    for (size_t i = 1; i <= strlen(path); i++)
        if (path[i] == '/' || path[i] == '\0') {
            snprintf(part, sizeof part, "%.*s", (int)i, path);
            if (mkdir(part, 0777) == 0) {
                *made_from = i - 1 < *made_from ? i - 1 : *made_from;
                SD_TRY(sd_file_sync_folder_of(part));
            } else if (errno != EEXIST && !is_folder(part)) {
                return sd_fail(SD_ERR_IO, "%s: the folder cannot be made: %s", part, strerror(errno));
            }
        }
    return SD_OK;
}

/* Folders that were made for a lock and hold nothing: a refused run leaves nothing. */
static void remove_made_folders(const sd_lock *lock) {
    char part[SD_FOLDER_BYTES];
    for (size_t i = strlen(lock->folder); i > lock->made_from; i--)
        if (lock->folder[i] == '/' || lock->folder[i] == '\0') {
            snprintf(part, sizeof part, "%.*s", (int)i, lock->folder);
            if (rmdir(part) != 0)
                return;
        }
}

/* Whether the file at the path is the one that is open. */
static bool is_there(const sd_lock *lock) {
    struct stat open_one, one_there;
    return fstat(lock->fd, &open_one) == 0 && stat(lock->path, &one_there) == 0 &&
           open_one.st_ino == one_there.st_ino && open_one.st_dev == one_there.st_dev;
}

/* ---- who holds it ---- */

/* "host H, pid P, since ..." of the file; "" if it is empty, as that of a run which has just begun. */
static void read_holder(const sd_lock *lock, char *holder, size_t holder_bytes) {
    const ssize_t bytes = pread(lock->fd, holder, holder_bytes - 1, 0);
    holder[bytes > 0 ? bytes : 0] = '\0';
    for (char *c = holder; *c; c++) /* whoever wrote it: it goes to a terminal */
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static sd_status write_holder(sd_lock *lock, const char *host) {
    char since[32] = "";
    const char *job = getenv("SLURM_JOB_ID");
    const time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local))
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    const int bytes = snprintf(lock->holder, sizeof lock->holder, "host %s, pid %ld, since %s%s%.64s", host,
                               (long)getpid(), since, job ? ", Slurm job " : "", job ? job : "");
    if (ftruncate(lock->fd, 0) == 0 && pwrite(lock->fd, lock->holder, (size_t)bytes, 0) == bytes)
        return SD_OK;
    const int reason = errno;
    unlink(lock->path);
    return sd_fail(SD_ERR_IO, "%s: cannot be written: %s", lock->path, strerror(reason));
}

static bool is_of_host(const char *holder, const char *host) {
    const size_t bytes = strlen(host);
    return !strncmp(holder, "host ", 5) && !strncmp(holder + 5, host, bytes) && holder[5 + bytes] == ',';
}

/* Whether somebody touches the file; it takes a while, unless nobody has for an hour. */
static bool is_touched(const sd_lock *lock) {
    struct stat first, now;
    const double end = sd_clock_seconds() + WATCH_SECONDS;
    if (fstat(lock->fd, &first) != 0 || time(NULL) - first.st_mtime > OLD_SECONDS)
        return false;
    while (sd_clock_seconds() < end) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NANOSECONDS}, NULL);
        const int fresh = open(lock->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC); /* NFS looks again where one opens */
        const bool looked = fresh >= 0 && fstat(fresh, &now) == 0;
        if (fresh >= 0)
            close(fresh);
        if (looked && (now.st_ino != first.st_ino || now.st_mtim.tv_sec != first.st_mtim.tv_sec ||
                       now.st_mtim.tv_nsec != first.st_mtim.tv_nsec))
            return true;
    }
    return false;
}

static sd_status refuse(const sd_lock *lock, const char *holder) {
    return sd_fail(SD_ERR_CONFIG,
                   "%s: the folder is used by another run%s%s; stop that one, or give this one another run.name",
                   lock->path, holder[0] ? ": " : "", holder);
}

/* ---- taking it ---- */

/* *gone: the file went away meanwhile, as its holder ended. */
static sd_status attempt(sd_lock *lock, const char *host, bool *gone) {
    char holder[HOLDER_BYTES];
    *gone = false;
    lock->fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (lock->fd < 0 && errno == EROFS)
        return SD_OK; /* nobody writes there; a run that must will say so */
    if (lock->fd < 0)
        return sd_fail(SD_ERR_IO, "%s: cannot be opened: %s", lock->path, strerror(errno));
    const bool locked = flock(lock->fd, LOCK_EX | LOCK_NB) == 0, refused = !locked && errno == EWOULDBLOCK;
    read_holder(lock, holder, sizeof holder);
    if (refused)
        return refuse(lock, holder);
    *gone = !is_there(lock);
    if (*gone)
        return SD_OK;
    if (holder[0] && !(locked && is_of_host(holder, host)) && is_touched(lock))
        return refuse(lock, holder);
    if (holder[0])
        sd_log_info("%s: taken over from a run that did not end well (%s)", lock->path, holder);
    return write_holder(lock, host);
}

static sd_status take(const sd_config *config, const char *host, sd_lock *lock) {
    char checkpoints[SD_FOLDER_BYTES + 16];
    bool gone = true;
    lock->fd = -1;
    sd_run_folders(config, lock->folder, sizeof lock->folder, checkpoints, sizeof checkpoints);
    snprintf(lock->path, sizeof lock->path, "%s/.lock", lock->folder);
    SD_TRY(sd_run_make_folders(lock->folder, &lock->made_from));
    while (gone) {
        if (lock->fd >= 0)
            close(lock->fd);
        SD_TRY(attempt(lock, host, &gone));
    }
    lock->touched = sd_clock_seconds();
    return SD_OK;
}

/* Closes what take() has opened and made, and leaves the file of another run alone. */
static void give_up(sd_lock **place) {
    sd_lock *lock = *place;
    if (lock->fd >= 0)
        close(lock->fd);
    remove_made_folders(lock);
    free(lock);
    *place = NULL;
}

sd_status sd_lock_take(sd_comm *comm, const sd_config *config, sd_lock **place) {
    sd_status status = SD_OK;
    *place = NULL;
    sd_watch_slow("taking the lock of the run's folder", 0, SD_LOCK_SECONDS);
    if (sd_comm_rank(comm) == 0) {
        status = sd_alloc(place, 1, sizeof **place);
        if (status == SD_OK)
            status = take(config, sd_comm_host(comm), *place);
        if (*place && (status != SD_OK || (*place)->fd < 0))
            give_up(place);
    }
    return sd_comm_agree(comm, status);
}

bool sd_lock_keep(sd_lock *lock) {
    if (!lock || sd_clock_seconds() - lock->touched < TOUCH_SECONDS)
        return true;
    lock->touched = sd_clock_seconds();
    char holder[HOLDER_BYTES];
    read_holder(lock, holder, sizeof holder);
    futimens(lock->fd, NULL);
    return !holder[0] || !strcmp(holder, lock->holder);
}

void sd_lock_release(sd_lock **place) {
    sd_lock *lock = *place;
    if (!lock)
        return;
    char holder[HOLDER_BYTES];
    read_holder(lock, holder, sizeof holder);
    if (is_there(lock) && !strcmp(holder, lock->holder)) /* else it was taken over */
        unlink(lock->path);
    close(lock->fd);
    remove_made_folders(lock);
    free(lock);
    *place = NULL;
}
