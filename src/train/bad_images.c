/* SPDX-License-Identifier: Apache-2.0 */
#include "bad_images.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/file.h"

enum { MOST_BYTES = 1 << 30 };

/* ---- lines, as a sorted set ---- */

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Sorts the lines of a text, each of which ends in a newline, and removes those that are there twice. text: changed;
 * *sorted: the caller frees. */
static sd_status sort_lines(char *text, char **sorted, size_t *n_lines) {
    const size_t bytes = strlen(text);
    char **line = NULL;
    size_t n = 0;
    *n_lines = 0;
    for (const char *c = text; *c; c++)
        n += *c == '\n';
    SD_TRY(sd_alloc(sorted, bytes + 1, 1));
    SD_TRY(sd_alloc(&line, n, sizeof *line));
    size_t i = 0;
    for (char *begin = text, *end; (end = strchr(begin, '\n')); begin = end + 1) {
        *end = '\0';
        line[i++] = begin;
    }
    qsort(line, n, sizeof *line, compare);
    char *to = *sorted;
    for (i = 0; i < n; i++)
        if (i == 0 || strcmp(line[i], line[i - 1]) != 0) {
            to = stpcpy(to, line[i]);
            *to++ = '\n';
            ++*n_lines;
        }
    *to = '\0';
    free(line);
    return SD_OK;
}

/* ---- rank 0 ---- */

/* Adds lines to those of the file. */
static sd_status merge(const sd_folders *folders, const char *lines) {
    char path[SD_PATH_BYTES], *before = NULL, *all = NULL, *sorted = NULL;
    size_t before_bytes = 0, n;
    sd_status status;
    snprintf(path, sizeof path, "%s/bad_images.txt", folders->run);
    if (sd_file_get(path, MOST_BYTES, &before, &before_bytes) != SD_OK)
        sd_error_clear(); /* there is none yet */
    SD_TRY_CLEANUP(sd_alloc(&all, before_bytes + strlen(lines) + 2, 1));
    sprintf(all, "%s%s%s", before ? before : "", before_bytes > 0 && before[before_bytes - 1] != '\n' ? "\n" : "",
            lines);
    SD_TRY_CLEANUP(sort_lines(all, &sorted, &n));
    if (before && !strcmp(before, sorted))
        goto cleanup;
    SD_TRY_CLEANUP(sd_file_put(path, sorted));
    sd_log_warn("%zu image%s cannot be decoded and %s skipped (data.on_bad_image = skip); see %s", n, n == 1 ? "" : "s",
                n == 1 ? "is" : "are", path);
cleanup:
    free(before);
    free(all);
    free(sorted);
    return status;
}

/* The lines of all ranks, one rank's after another, on rank 0; bytes: [ranks], with the zero. Collective. */
static sd_status gather_lines(sd_comm *comm, const char *mine, const uint64_t *bytes, char **all) {
    const int ranks = sd_comm_size(comm);
    const bool root = sd_comm_rank(comm) == 0;
    uint64_t total = 0;
    for (int rank = 0; rank < ranks; rank++)
        total += bytes[rank];
    SD_TRY(sd_comm_agree(comm, root ? sd_alloc(all, total, 1) : SD_OK));
    char *to = *all;
    for (int rank = 0; rank < ranks; rank++) {
        if (bytes[rank] <= 1)
            continue;
        if (rank == 0 && root)
            memcpy(to, mine, bytes[rank]);
        else if (rank > 0)
            SD_TRY(sd_comm_copy(comm, rank, 0, root ? (void *)to : (void *)mine, bytes[rank]));
        to += root ? bytes[rank] - 1 : 0;
    }
    return SD_OK;
}

static sd_status list(sd_run *run, const char *mine) {
    sd_comm *comm = run->session.comm;
    const uint64_t my_bytes = strlen(mine) + 1;
    uint64_t *bytes = NULL, most = 0;
    const int ranks = sd_comm_size(comm);
    char *all = NULL;
    sd_status status = sd_alloc(&bytes, (size_t)ranks, sizeof *bytes);
    SD_TRY_CLEANUP(sd_comm_agree(comm, status));
    SD_TRY_CLEANUP(sd_comm_gather(comm, &my_bytes, sizeof my_bytes, bytes));
    SD_TRY_CLEANUP(sd_comm_broadcast(comm, bytes, (size_t)ranks * sizeof *bytes));
    for (int rank = 0; rank < ranks; rank++)
        most = bytes[rank] > most ? bytes[rank] : most;
    if (most > 1) {
        SD_TRY_CLEANUP(gather_lines(comm, mine, bytes, &all));
        SD_TRY_CLEANUP(sd_comm_agree(comm, all ? merge(&run->session.folders, all) : SD_OK));
    }
cleanup:
    free(bytes);
    free(all);
    return status;
}

sd_status sd_run_list_bad_images(sd_run *run) {
    if (run->session.config->data.on_bad_image != SD_BAD_IMAGE_SKIP)
        return SD_OK;
    char *mine = sd_loader_take_bad(run->pipeline.loader);
    const sd_status status = list(run, mine ? mine : "");
    free(mine);
    return status;
}
