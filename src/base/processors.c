/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/processors.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, MOST_PROCESSORS = 1 << 20 };

int sd_processors_online(void) {
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int sd_processors_allowed(void) {
    for (int n = CPU_SETSIZE; n <= MOST_PROCESSORS; n *= 2) { /* EINVAL: the kernel's masks are larger */
        cpu_set_t *mask = CPU_ALLOC((size_t)n);
        if (!mask)
            break;
        const bool read = sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)n), mask) == 0;
        const int error = errno, count = read ? CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)n), mask) : 0;
        CPU_FREE(mask);
        if (count > 0)
            return count;
        if (error != EINVAL)
            break;
    }
    return sd_processors_online();
}

/* ---- quotas ---- */

/* Reads the first line of a file, without its newline; false if it cannot be read. */
static bool read_line(const char *folder, const char *name, char *line, int line_bytes) {
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    const bool read = fgets(line, line_bytes, file) != NULL;
    fclose(file);
    if (read)
        line[strcspn(line, "\n")] = '\0';
    return read;
}

/* The quota of one group, in processors; 0: none ("max", -1, no files). */
static double read_quota(const char *folder, bool v2) {
    char line[128], period_line[128];
    double quota, period;
    if (v2) {
        if (!read_line(folder, "cpu.max", line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
            return 0;
    } else {
        if (!read_line(folder, "cpu.cfs_quota_us", line, sizeof line) ||
            !read_line(folder, "cpu.cfs_period_us", period_line, sizeof period_line))
            return 0;
        quota = strtod(line, NULL);
        period = strtod(period_line, NULL);
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* Reads the quotas from a group's folder up to the mount point, which is the first top_bytes of folder. */
static int read_quotas(char *folder, size_t top_bytes, bool v2, sd_cpu_limit *limits, int n) {
    for (;;) {
        struct stat info;
        const double processors = read_quota(folder, v2);
        if (processors > 0 && n < SD_MAX_CPU_LIMITS && stat(folder, &info) == 0)
            limits[n++] = (sd_cpu_limit){(uint64_t)info.st_dev << 32 ^ (uint64_t)info.st_ino, processors};
        char *slash = strrchr(folder, '/');
        if (!slash || strlen(folder) <= top_bytes)
            return n;
        *slash = '\0';
    }
}

/* Whether the list "a,b,c" contains the word. */
static bool has_word(const char *words, const char *word) {
    const size_t bytes = strlen(word);
    for (; *words; words += strcspn(words, ",") + (words[strcspn(words, ",")] == ','))
        if (strcspn(words, ",\n") == bytes && !strncmp(words, word, bytes))
            return true;
    return false;
}

/* Finds this process's group in the hierarchy of the cpu controller, among the lines "ID:CONTROLLERS:PATH" of
 * /proc/self/cgroup (v2: "0::PATH"). */
static bool find_group(const char *root, bool v2, char *group, size_t group_bytes) {
    char path[PATH_BYTES + 64], line[PATH_BYTES];
    bool found = false;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':'), *where = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!where)
            continue;
        *where++ = '\0';
        found = v2 ? !strcmp(line, "0:") : has_word(controllers + 1, "cpu");
        snprintf(group, group_bytes, "%.*s", (int)strcspn(where, "\n"), where);
    }
    if (file)
        fclose(file);
    return found;
}

/* Replaces mountinfo's \040, \011, \012 and \134 by space, tab, line feed and backslash, in place. */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else
            *to = *from++;
    }
    *to = '\0';
}

/* The part of a group's path below the mounted group; NULL if it lies outside. */
static const char *below(const char *group, const char *mounted) {
    const size_t bytes = strcmp(mounted, "/") ? strlen(mounted) : 0;
    if (strncmp(group, mounted, bytes) != 0 || (group[bytes] != '/' && group[bytes] != '\0'))
        return NULL;
    return strcmp(group + bytes, "/") ? group + bytes : "";
}

/* A line of /proc/self/mountinfo: "ID PARENT DEVICE MOUNTED POINT OPTIONS [MORE ...] - TYPE SOURCE OPTIONS". */
static int read_mount(const char *root, char *line, bool v2, const char *group, sd_cpu_limit *limits, int n) {
    char folder[PATH_BYTES], mounted[PATH_BYTES], point[PATH_BYTES], type[32], options[1024];
    const char *behind = strstr(line, " - ");
    if (!behind || sscanf(line, "%*s %*s %*s %4095s %4095s", mounted, point) != 2 ||
        sscanf(behind, " - %31s %*s %1023s", type, options) != 2 || strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 ||
        (!v2 && !has_word(options, "cpu")))
        return n;
    unescape(mounted);
    unescape(point);
    const char *rest = below(group, mounted);
    if (!rest || (size_t)snprintf(folder, sizeof folder, "%s%s%s", root, point, rest) >= sizeof folder)
        return n;
    return read_quotas(folder, strlen(root) + strlen(point), v2, limits, n);
}

int sd_processors_limits(const char *root, sd_cpu_limit limits[SD_MAX_CPU_LIMITS]) {
    char path[PATH_BYTES + 64], line[2 * PATH_BYTES], group[PATH_BYTES];
    int n = 0;
    for (int v2 = 0; v2 < 2; v2++) {
        if (!find_group(root, v2, group, sizeof group))
            continue;
        snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
            n = read_mount(root, line, v2, group, limits, n);
        if (file)
            fclose(file);
    }
    return n;
}
