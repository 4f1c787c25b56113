/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain pack: makes one file of a data set. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sdtrain/clock.h"
#include "sdtrain/console.h"
#include "sdtrain/guard.h"
#include "sdtrain/pack.h"
#include "tools.h"

/* ---- the process that reads a plain HDF5 file ---- */

/* No more memory than the machine has, whatever a damaged file asks for. A sanitizer needs terabytes of addresses. */
static void limit_memory(void) {
#ifndef __SANITIZE_ADDRESS__
    const rlim_t bytes = (rlim_t)sysconf(_SC_PHYS_PAGES) * (rlim_t)sysconf(_SC_PAGESIZE);
    setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
#endif
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static sd_status start_reader(const char *path, pid_t *child, int *end) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return sd_fail(SD_ERR_INTERNAL, "a pair of sockets cannot be made: %s", strerror(errno));
    fflush(NULL);
    *child = fork();
    if (*child < 0)
        return sd_fail(SD_ERR_INTERNAL, "no process can be started: %s", strerror(errno));
    if (*child == 0) {
        close(ends[0]);
        limit_memory();
        sd_pack_serve_plain(path, ends[1]);
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    *end = ends[0];
    return SD_OK;
}

/* A signal that ended the reader is the reason of the failure. */
static sd_status end_reader(const char *path, pid_t child, int end, sd_status status) {
    int ended = 0;
    close(end);
    while (waitpid(child, &ended, 0) < 0 && errno == EINTR)
        continue;
    if (status == SD_OK || status == SD_STOPPED || !WIFSIGNALED(ended))
        return status;
    return sd_fail(SD_ERR_DATA, "%s: HDF5 crashed while reading it (%s): the file is damaged", path,
                   strsignal(WTERMSIG(ended)));
}

/* ---- telling ---- */

typedef struct teller {
    sd_console console;
} teller;

static void show_progress(void *context, const char *doing, uint64_t done, uint64_t all) {
    teller *t = context;
    const bool bytes = !strcmp(doing, "verifying");
    sd_console_progress(&t->console, "%s: %.1f of %.1f %s, %.0f %%", doing, (double)done / (bytes ? 1e6 : 1e3),
                        (double)all / (bytes ? 1e6 : 1e3), bytes ? "MB" : "thousand images",
                        all > 0 ? 100.0 * (double)done / (double)all : 100.0);
}

static void show_left_out(void *context, const char *line) {
    sd_console_line(&((teller *)context)->console, "left out: %s", line);
}

/* Ends the line that is rewritten. */
static void end_progress(teller *t) {
    if (t->console.rewrite && t->console.shown_bytes > 0)
        fprintf(stderr, "\r%*s\r", t->console.shown_bytes, "");
}

static const char *size_text(uint64_t bytes, char text[32]) {
    snprintf(text, 32, bytes < 10000000 ? "%.0f kB" : "%.0f MB",
             bytes < 10000000 ? (double)bytes / 1e3 : (double)bytes / 1e6);
    return text;
}

static void print_result(const char *out, const sd_pack_info *info, double seconds) {
    char size[32], pixels[64] = "";
    if (!info->encoded)
        snprintf(pixels, sizeof pixels, " of %d x %d pixels", info->width, info->height);
    printf("%s: %u training and %u test images%s in %d classes, %s, %s, packed and verified in %.1f s\n", out,
           info->images[0], info->images[1], pixels, info->classes, info->encoded ? "encoded" : "decoded",
           size_text(info->bytes, size), seconds);
    if (info->left_out > 0)
        printf("%s: %u bad images left out\n", out, info->left_out);
}

/* ---- the tool ---- */

static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static sd_status pack(sd_pack_spec *spec, sd_pack_info *info) {
    struct stat source;
    pid_t child = -1;
    if (stat(spec->source, &source) != 0)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", spec->source, strerror(errno));
    if (S_ISDIR(source.st_mode))
        return sd_pack(spec, info);
    if (!S_ISREG(source.st_mode))
        return sd_fail(SD_ERR_DATA, "%s: is neither a folder nor a regular file", spec->source);
    if (sd_pack_is(spec->source))
        return sd_fail(SD_ERR_DATA, "%s: is packed already", spec->source);
    if (is_same_file(spec->source, spec->out))
        return sd_fail(SD_ERR_USAGE, "%s would replace what it is made of; give it another name", spec->out);
    SD_TRY(start_reader(spec->source, &child, &spec->plain));
    return end_reader(spec->source, child, spec->plain, sd_pack(spec, info));
}

static sd_status parse(int n, char **words, sd_pack_spec *spec) {
    for (int i = 0; i < n; i++)
        if (!strcmp(words[i], "--decoded"))
            spec->decoded = true;
        else if (!strcmp(words[i], "--skip-bad"))
            spec->skip_bad = true;
        else if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "pack has no option %s (--help lists all)", words[i]);
        else if (!spec->source)
            spec->source = words[i];
        else if (!spec->out)
            spec->out = words[i];
        else
            return sd_fail(SD_ERR_USAGE, "pack needs one source and one file, not also %s", words[i]);
    return spec->out ? SD_OK : sd_fail(SD_ERR_USAGE, "pack needs a source and a file to write (--help shows how)");
}

sd_status sd_tool_pack(int n, char **words, int *exit_code) {
    teller t;
    sd_pack_spec spec = {
        .plain = -1,
        .watch = {.stopped = sd_stop_requested, .progress = show_progress, .left_out = show_left_out, .context = &t}};
    sd_pack_info info;
    (void)exit_code;
    SD_TRY(parse(n, words, &spec));
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0); /* OUT.part is nobody else's, and some file systems have no locks */
    sd_signals_catch();
    sd_console_init(&t.console, stderr, SD_DISPLAY_AUTO);
    const double begin = sd_clock_seconds();
    const sd_status status = pack(&spec, &info);
    end_progress(&t);
    if (status == SD_STOPPED)
        return sd_fail(SD_STOPPED, "stopped by a signal; %s was not written", spec.out);
    SD_TRY(status);
    print_result(spec.out, &info, sd_clock_seconds() - begin);
    return SD_OK;
}
