/* SPDX-License-Identifier: Apache-2.0 */
/* The HDF5 inside a checkpoint, sealed with a right digest, as no accident makes it: the seal keeps out accidents, so
 * this is the second line of defence. The HDF5 library itself may crash or run for ever on such files; therefore a
 * child with limits loads them.
 * Demanded: refused with the file's name, or loaded with numbers that can be; and where the child dies, it dies inside
 * HDF5. A death there is counted and told at the end; one in our code is a finding.
 *
 *     input: the file behind its seal */
#include <dlfcn.h>
#include <execinfo.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/checkpoint/seal.h"
#include "fuzz.h"
#include "sdtrain/models.h"
#include "tiny.h"

enum { CPU_SECONDS = 4, WALL_SECONDS = 120, MORE_MEMORY = 1 << 30, FRAMES = 200, MOST_COUNTERS = 1 << 16 };

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

typedef enum verdict { KILLED, REFUSED, LOADED, DIED_IN_HDF5, WRONG, VERDICTS } verdict;

/* What the child tells. */
typedef struct report {
    verdict verdict;
    char reason[512];
    size_t n_counters;
    unsigned char counters[MOST_COUNTERS];
} report;

static report *shared;
static unsigned long counted[VERDICTS];

extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    if (i > 0)
        return false;
    tiny_run run = tiny_new(100);
    unsigned char *file = tiny_checkpoint(&run, n);
    *n -= SD_SEAL_BYTES;
    *bytes = malloc(*n);
    memcpy(*bytes, file + SD_SEAL_BYTES, *n);
    free(file);
    sd_optimizer_destroy(&run.optimizer);
    sd_network_destroy(&run.network);
    return true;
}

/* ---- the child ---- */

/* HDF5 calls nothing of ours that could fail, so a stack with HDF5 in it is HDF5's. */
static bool in_hdf5(void) {
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    for (int i = 0; i < n; i++) {
        Dl_info info;
        if (dladdr(frames[i], &info) && info.dli_fname && strstr(info.dli_fname, "hdf5"))
            return true;
    }
    return false;
}

static void died(const char *how) {
    if (in_hdf5()) {
        shared->verdict = DIED_IN_HDF5;
    } else {
        void *frames[FRAMES];
        shared->verdict = WRONG;
        snprintf(shared->reason, sizeof shared->reason, "died outside HDF5: %s", how);
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
    }
    _exit(EXIT_FAILURE);
}

static void on_signal(int number) { died(strsignal(number)); }
static void on_sanitizer(void) { died("see the sanitizer's report"); }

static void set_limits(void) {
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGPROF};
    static char stack[1 << 16]; /* for a stack that has overflowed */
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        sigaction(deadly[i], &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER}, NULL);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(on_sanitizer);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_sec = WALL_SECONDS}, NULL); /* libFuzzer has set one, too */
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = CPU_SECONDS}, NULL);
#ifndef HAVE_ASAN /* whose shadow is terabytes; launch/fuzz.sh limits its allocations instead */
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld", &pages) == 1)
        limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + MORE_MEMORY;
    if (file)
        fclose(file);
    setrlimit(RLIMIT_AS, &limit);
#endif
}

/* What a run could go on from; else what is wrong with it. */
static const char *fault_of(tiny_run *run, const sd_checkpoint_info *d) {
    for (int i = 0; i < sd_network_n_tensors(run->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(run->network, i);
        for (size_t e = 0; e < tensor->elems; e++)
            if (!isfinite(sd_network_values(run->network)[tensor->offset_elems + e]))
                return "a weight that is no number was loaded";
    }
    for (int c = 0; c < 3; c++)
        if (!isfinite(d->mean[c]) || !isfinite(d->deviation[c]) || !(d->deviation[c] > 0))
            return "a normalisation that cannot be was loaded";
    if (d->ranks < 1 || !d->timing || !d->config)
        return "parts are missing";
    return NULL;
}

static bool is_refusal(sd_status status, const char *path) {
    return status == SD_ERR_MEMORY || (status == SD_ERR_DATA && strstr(sd_error_message(), path));
}

/* As model.init does; what a resume has loaded is what it adopts. loaded: one has. */
static const char *fault_of_adoption(const char *path, tiny_run *run, bool loaded) {
    const uint64_t before = tiny_hash(run);
    sd_weights weights;
    sd_adoption report;
    sd_status status = sd_weights_read(path, &weights);
    if (status == SD_OK)
        status = sd_model_adopt(run->network, &weights, path, &report);
    sd_weights_free(&weights);
    if (status != SD_OK && !is_refusal(status, path))
        return sd_error_message();
    if (tiny_hash(run) != before && (loaded || status != SD_OK))
        return loaded ? "adopted values are not those of a resume" : "an adoption was refused, and yet changed values";
    return NULL;
}

static void load(const char *path, tiny_run *run) {
    const uint64_t before = tiny_hash(run);
    sd_checkpoint_info info;
    sd_error_clear();
    sd_status status = tiny_load(path, run, &info);
    const char *fault = NULL;
    if (status == SD_OK) {
        static sd_config config; /* large */
        fault = fault_of(run, &info);
        sd_config_init(&config); /* as a resume does; refused or not */
        (void)sd_config_parse(&config, info.config, path);
    } else if (tiny_hash(run) != before) {
        fault = "it was refused, and yet changed the run";
    } else if (!is_refusal(status, path)) {
        fault = sd_error_message();
    }
    if (!fault)
        fault = fault_of_adoption(path, run, status == SD_OK);
    sd_checkpoint_info_free(&info);
    shared->verdict = fault ? WRONG : status == SD_OK ? LOADED : REFUSED;
    snprintf(shared->reason, sizeof shared->reason, "%s", fault ? fault : "");
}

/* What the child has covered: without it libFuzzer would learn nothing. */
static void hand_over_counters(void) {
    const unsigned char *counters = fuzz_counters(&shared->n_counters);
    if (shared->n_counters > MOST_COUNTERS)
        shared->n_counters = MOST_COUNTERS;
    if (counters)
        memcpy(shared->counters, counters, shared->n_counters);
}

static void take_over_counters(void) {
    size_t n;
    unsigned char *counters = fuzz_counters(&n);
    if (counters)
        memcpy(counters, shared->counters, shared->n_counters);
}

/* ---- the parent ---- */

static void print_counts(void) {
    fprintf(stderr, "checkpoint_inner: %lu refused, %lu loaded, %lu children died inside HDF5, %lu were killed\n",
            counted[REFUSED], counted[LOADED], counted[DIED_IN_HDF5], counted[KILLED]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static tiny_run into;
    char path[512];
    int status;
    if (!into.network) {
        void *frame[1];
        backtrace(frame, 1); /* loads what it needs now, not in a signal handler */
        into = tiny_new(200);
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        fuzz_require(shared != MAP_FAILED, "no shared memory");
        atexit(print_counts);
    }
    unsigned char *file = malloc(n + SD_SEAL_BYTES);
    memcpy(file + SD_SEAL_BYTES, bytes, n);
    sd_seal_make(file, n + SD_SEAL_BYTES);
    snprintf(path, sizeof path, "%s/step-00000007.h5", fuzz_folder());
    fuzz_write(path, file, n + SD_SEAL_BYTES);
    free(file);
    shared->verdict = KILLED;
    shared->n_counters = 0;
    fflush(NULL);
    pid_t child = fork();
    fuzz_require(child >= 0, "no child");
    if (child == 0) {
        set_limits();
        load(path, &into);
        hand_over_counters();
        _exit(EXIT_SUCCESS);
    }
    while (waitpid(child, &status, 0) < 0) /* libFuzzer's timer interrupts */
        continue;
    take_over_counters();
    counted[shared->verdict]++;
    fuzz_require(shared->verdict != WRONG, "%s", shared->reason);
    return 0;
}
