/* SPDX-License-Identifier: Apache-2.0 */
/* One run a folder: OUTPUT/NAME/.lock is held by rank 0 from before it looks into the folder until its end, and says
 * who holds it.
 *
 * Two signs tell a living run from what a dead one has left. flock(2): the kernel drops it when the process dies,
 * however it dies; where it is refused, the holder lives. But network file systems may keep it to one host, and some to
 * one container, or not know it. So the holder also touches the file every few seconds, and a lock is watched for
 * longer than that: the run lives if the file's time moves. Only a lock of this very boot of this machine, and of this
 * container, is taken over at once: two machines may have one name. No clock is compared with another one. */
#include "sdtrain/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/file.h"

enum {
    TOUCH_SECONDS = 4,
    WATCH_SECONDS = 3 * TOUCH_SECONDS,
    LOOK_NANOSECONDS = 200000000,
    HOLDER_BYTES = 512,
    BOOT_ID_BYTES = 36,
    BOOT_BYTES = 80,
    PATH_BYTES = 4096
};
_Static_assert((int)SD_LOCK_SECONDS > (int)WATCH_SECONDS, "the watchdog must allow for the watching");

struct sd_lock {
    int fd;
    char folder[PATH_BYTES], path[PATH_BYTES + 16];
    size_t made_from; /* of folder: parts that end beyond were made for the lock */
    char holder[HOLDER_BYTES];
    double touched; /* clock */
};

/* Folders that were made for a lock and hold nothing: a refused run leaves nothing. */
static void remove_made_folders(const sd_lock *lock) {
    char part[PATH_BYTES];
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

/* Whoever wrote it: it goes to a terminal. */
static void make_printable(char *text) {
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

/* "host H, pid P, since ..., boot B" of the file; "" if it is empty, as that of a run which has just begun. */
static void read_holder(const sd_lock *lock, char *holder, size_t holder_bytes) {
    const ssize_t bytes = pread(lock->fd, holder, holder_bytes - 1, 0);
    holder[bytes > 0 ? bytes : 0] = '\0';
    make_printable(holder);
}

/* The last part of a holder's text, ", boot B", which tells machines apart; "" if it has none, as an older
 * version's. */
static const char *boot_part(const char *holder) {
    static const char begin[] = ", boot ";
    const char *part = strstr(holder, begin);
    for (const char *next = part; next; next = strstr(next + 1, begin))
        part = next;
    return part ? part : holder + strlen(holder);
}

/* Without it, for messages. */
static int words_bytes(const char *holder) { return (int)(boot_part(holder) - holder); }

/* "BOOT_ID/N": the kernel's number of this boot, which containers share, and that of their namespace of processes. ""
 * if the system does not tell. */
static void read_boot(char boot[BOOT_BYTES]) {
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char id[BOOT_ID_BYTES + 1] = "", link[64] = "", space[32];
    size_t unused;
    int fd;
    boot[0] = '\0';
    const bool opened = sd_file_open(path, &fd, &unused) == SD_OK;
    const bool read = opened && sd_file_read(fd, path, id, BOOT_ID_BYTES) == SD_OK;
    if (opened)
        close(fd);
    if (read && readlink("/proc/self/ns/pid", link, sizeof link - 1) > 0 && sscanf(link, "pid:[%31[0-9]]", space) == 1)
        snprintf(boot, BOOT_BYTES, "%s/%s", id, space);
    sd_error_clear();
}

/* Who this process is, for the file. */
static void describe(const char *host, char holder[HOLDER_BYTES]) {
    char since[32] = "", boot[BOOT_BYTES];
    const char *job = getenv("SLURM_JOB_ID");
    const time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local))
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    read_boot(boot);
    snprintf(holder, HOLDER_BYTES, "host %.255s, pid %ld, since %s%s%.64s%s%s", host, (long)getpid(), since,
             job ? ", Slurm job " : "", job ? job : "", boot[0] ? ", boot " : "", boot);
    make_printable(holder); /* it is compared with what is read */
}

/* before: what the file holds. Synced, as a client of NFS keeps short writes to itself for seconds. */
static sd_status write_holder(const sd_lock *lock, const char *before) {
    const ssize_t bytes = (ssize_t)strlen(lock->holder);
    const bool written =
        (!before[0] || ftruncate(lock->fd, 0) == 0) && pwrite(lock->fd, lock->holder, (size_t)bytes, 0) == bytes;
    const sd_status status = written ? sd_file_sync(lock->fd, lock->path)
                                     : sd_fail(SD_ERR_IO, "%s: cannot be written: %s", lock->path, strerror(errno));
    if (status != SD_OK)
        unlink(lock->path);
    return status;
}

/* Whether both are of one host, and of one boot of it. */
static bool is_of_same_boot(const char *holder, const char *other) {
    const char *boot = boot_part(holder);
    const size_t host_bytes = strcspn(holder, ",");
    return boot[0] && !strcmp(boot, boot_part(other)) && !strncmp(holder, other, host_bytes + 1);
}

/* Moves the file's time: by writing the same again where the file system cannot set it. */
static void touch(const sd_lock *lock) {
    const ssize_t bytes = (ssize_t)strlen(lock->holder);
    if (futimens(lock->fd, NULL) != 0 &&
        !(pwrite(lock->fd, lock->holder, (size_t)bytes, 0) == bytes && fsync(lock->fd) == 0))
        sd_log_warn_once("%s: cannot be touched (%s): a run of this name on another host may take this one for dead",
                         lock->path, strerror(errno));
}

static sd_status cannot_tell(const sd_lock *lock) {
    return sd_fail(SD_ERR_IO, "%s: whether another run holds it cannot be told: %s", lock->path, strerror(errno));
}

/* Whether somebody touches the file, or has put another in its place. It ends early if so, and if the file goes
 * away. */
static sd_status watch(const sd_lock *lock, bool *touched) {
    struct stat first, now;
    bool looked = false;
    *touched = false;
    if (fstat(lock->fd, &first) != 0)
        return cannot_tell(lock);
    for (const double end = sd_clock_seconds() + WATCH_SECONDS; sd_clock_seconds() < end;) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NANOSECONDS}, NULL);
        const int fresh = open(lock->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC); /* NFS looks again where one opens */
        if (fresh < 0 && errno == ENOENT)
            return SD_OK;
        const bool seen = fresh >= 0 && fstat(fresh, &now) == 0;
        if (fresh >= 0)
            close(fresh);
        looked = looked || seen;
        *touched = seen && (now.st_ino != first.st_ino || now.st_mtim.tv_sec != first.st_mtim.tv_sec ||
                            now.st_mtim.tv_nsec != first.st_mtim.tv_nsec);
        if (*touched)
            return SD_OK;
    }
    return looked ? SD_OK : cannot_tell(lock);
}

static sd_status refuse(const sd_lock *lock, const char *holder) {
    return sd_fail(SD_ERR_CONFIG,
                   "%s: the folder is used by another run%s%.*s; stop that one, or give this one another run.name",
                   lock->path, holder[0] ? ": " : "", words_bytes(holder), holder);
}

/* ---- taking it ---- */

/* *gone: the file went away meanwhile, as its holder ended. */
static sd_status attempt(sd_lock *lock, bool *gone) {
    char holder[HOLDER_BYTES];
    bool lives;
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
    if (holder[0] && !(locked && is_of_same_boot(holder, lock->holder))) {
        SD_TRY(watch(lock, &lives));
        if (lives)
            return refuse(lock, holder);
    }
    *gone = !is_there(lock);
    if (*gone)
        return SD_OK;
    if (holder[0])
        sd_log_info("%s: taken over from a run that did not end well (%.*s)", lock->path, words_bytes(holder), holder);
    return write_holder(lock, holder);
}

static sd_status take(const char *folder, const char *host, sd_lock *lock) {
    bool gone = true;
    lock->fd = -1;
    snprintf(lock->folder, sizeof lock->folder, "%s", folder);
    snprintf(lock->path, sizeof lock->path, "%s/.lock", lock->folder);
    SD_TRY(sd_file_make_folders(lock->folder, &lock->made_from));
    describe(host, lock->holder);
    while (gone) {
        if (lock->fd >= 0)
            close(lock->fd);
        SD_TRY(attempt(lock, &gone));
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

sd_status sd_lock_take(sd_comm *comm, const char *folder, sd_lock **place) {
    sd_status status = SD_OK;
    *place = NULL;
    sd_watch_slow("taking the lock of the run's folder", 0, SD_LOCK_SECONDS);
    if (sd_comm_rank(comm) == 0) {
        status = sd_alloc(place, 1, sizeof **place);
        if (status == SD_OK)
            status = take(folder, sd_comm_host(comm), *place);
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
    const bool ours = !holder[0] || !strcmp(holder, lock->holder);
    if (ours)
        touch(lock);
    return ours;
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
