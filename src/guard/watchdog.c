/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing hangs: a thread on each rank looks whether the one that trains still gets anywhere.
 *
 * A job that hangs cannot use MPI to say so, and ranks cannot ask each other. So each rank's thread writes its own line
 * to standard error, which mpirun forwards, and only some time later, when all that can have done so, the lowest rank
 * that can ends the job. A rank that was stopped, or whose host is gone, is the one whose line is missing.
 *
 * What is counted is the time in which this thread ran and saw nothing, not what the clock says: where a whole job was
 * suspended (Slurm does it with SIGSTOP), nothing was hanging. */
#include "sdtrain/guard.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sdtrain/clock.h"

/* Where the training thread is. Of the process, as signals are: it has one training thread. */
static struct {
    _Atomic(const char *) doing;
    _Atomic uint64_t step, beats;
    _Atomic double allowed; /* seconds that this place may take beyond the limit */
} place;

static struct {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool running, quit;
    sd_comm *comm;
    double limit; /* seconds; 0: none */
    const sd_reducer *reducer;
    sd_lock *lock;
} dog = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void sd_watch_slow(const char *doing, uint64_t step, double allowed_seconds) {
    atomic_store_explicit(&place.doing, doing, memory_order_relaxed);
    atomic_store_explicit(&place.step, step, memory_order_relaxed);
    atomic_store_explicit(&place.allowed, allowed_seconds, memory_order_relaxed);
    /* One thread writes: an addition need not be one atomic step. */
    const uint64_t beats = atomic_load_explicit(&place.beats, memory_order_relaxed);
    atomic_store_explicit(&place.beats, beats + 1, memory_order_release);
}

void sd_watch(const char *doing, uint64_t step) { sd_watch_slow(doing, step, 0); }

/* ---- the thread ---- */

/* One line in one write: no lock of stdio that a hung thread may hold, and nobody's words in between. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    bytes = bytes < (int)sizeof line ? bytes : (int)sizeof line - 1;
    if (write(STDERR_FILENO, line, (size_t)bytes) < 0)
        return; /* there is nobody to tell */
}

static void say_place(double still) {
    char waits[128] = "", where[48] = "at the start";
    const char *call = sd_comm_waits_for(dog.comm);
    const uint64_t step = atomic_load(&place.step);
    if (step > 0)
        snprintf(where, sizeof where, "in step %llu", (unsigned long long)step);
    if (call)
        snprintf(waits, sizeof waits, "%s", call);
    else if (!dog.reducer || !sd_reducer_waits_for(dog.reducer, waits, sizeof waits))
        waits[0] = '\0';
    say("sdtrain-mpi: rank %d on %s: no progress for %.0f s %s: %s%s%s\n", sd_comm_rank(dog.comm),
        sd_comm_host(dog.comm), still, where, atomic_load(&place.doing), waits[0] ? "; not complete: " : "", waits);
}

/* After its line a rank waits for the lines of others, and longer the higher it is: one rank ends the job. */
static double patience(void) {
    const double grace = fmin(fmax(dog.limit / 20, 1), 10);
    return grace * fmin(1 + 2 * sd_comm_rank(dog.comm), 33);
}

/* still: seconds without progress. *spoken: this rank's line is written. */
static void look(double still, bool *spoken) {
    const double late = still - dog.limit - atomic_load(&place.allowed);
    if (late < 0)
        return;
    if (!*spoken)
        say_place(still);
    *spoken = true;
    if (late < patience())
        return;
    say("sdtrain-mpi: error: the run hangs: no progress for %lld s (run.stall_seconds); each rank's line above says "
        "where it is, and a rank without a line is one to look at\n",
        (long long)dog.limit);
    sd_comm_abort(dog.comm, sd_status_exit_code(SD_ERR_INTERNAL));
}

static double nap_seconds(void) { return dog.limit > 0 && dog.limit < 20 ? dog.limit / 20 : 1; }

static void nap(double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double end = (double)until.tv_nsec * 1e-9 + seconds;
    until.tv_sec += (time_t)end;
    until.tv_nsec = (long)((end - floor(end)) * 1e9);
    while (!dog.quit && pthread_cond_timedwait(&dog.changed, &dog.mutex, &until) != ETIMEDOUT)
        continue;
}

static void *watch(void *unused) {
    uint64_t seen = 0;
    double still = 0;
    bool spoken = false;
    (void)unused;
    pthread_mutex_lock(&dog.mutex);
    while (!dog.quit) {
        const double before = sd_clock_seconds();
        nap(nap_seconds());
        const double slept = fmin(sd_clock_seconds() - before, 2 * nap_seconds());
        if (!sd_lock_keep(dog.lock)) {
            say("sdtrain-mpi: error: another run has taken this run's folder over (its lock file is another one)\n");
            sd_comm_abort(dog.comm, sd_status_exit_code(SD_ERR_INTERNAL));
        }
        const uint64_t beats = atomic_load_explicit(&place.beats, memory_order_acquire);
        still = beats == seen ? still + slept : 0;
        spoken = spoken && beats == seen;
        seen = beats;
        if (dog.limit > 0)
            look(still, &spoken);
    }
    pthread_mutex_unlock(&dog.mutex);
    return NULL;
}

static sd_status start(sd_comm *comm, double stall_seconds) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&dog.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    dog.comm = comm;
    dog.limit = stall_seconds;
    dog.quit = false;
    const int code = pthread_create(&dog.thread, NULL, watch, NULL);
    dog.running = code == 0;
    return code == 0 ? SD_OK : sd_fail(SD_ERR_MEMORY, "the watchdog's thread could not be started: %s", strerror(code));
}

sd_status sd_watchdog_start(sd_comm *comm, double stall_seconds) {
    sd_watch("starting", 0);
    return sd_comm_agree(comm, start(comm, stall_seconds));
}

void sd_watchdog_reducer(const sd_reducer *reducer) {
    pthread_mutex_lock(&dog.mutex);
    dog.reducer = reducer;
    pthread_mutex_unlock(&dog.mutex);
}

void sd_watchdog_lock(sd_lock *lock) {
    pthread_mutex_lock(&dog.mutex);
    dog.lock = lock;
    pthread_mutex_unlock(&dog.mutex);
}

void sd_watchdog_stop(void) {
    if (!dog.running)
        return;
    pthread_mutex_lock(&dog.mutex);
    dog.quit = true;
    pthread_cond_broadcast(&dog.changed);
    pthread_mutex_unlock(&dog.mutex);
    pthread_join(dog.thread, NULL);
    pthread_cond_destroy(&dog.changed);
    dog.running = false;
}
