/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain verify: checks a checkpoint more strictly than a resume, and every byte of a packed set. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "sdtrain/pack.h"
#include "shown.h"
#include "tools.h"

/* Whether path is a member of /progress that is NAN until it is first measured. */
static bool may_be_nan(const char *path) {
#define HAS_NO_VALUE_AT_FIRST(type, member, initial, role)                                                             \
    if (isnan((double)(initial)) && !strcmp(path, "/progress/" #member))                                               \
        return true;
    SD_PROGRESS_LIST(HAS_NO_VALUE_AT_FIRST)
#undef HAS_NO_VALUE_AT_FIRST
    return false;
}

/* Logits of a validation image may overflow, which does not stop a run. */
static bool may_be_infinite(const char *path) { return !strcmp(path, "/progress/val_loss"); }

/* Whether an entry holds counters of steps, which may not exceed the run's steps: all integers of model and
 * optimizer. */
static bool counts_steps(const sd_entry *entry) {
    return entry->kind == SD_ENTRY_I64 && (sd_entry_is_in(entry, "/model") || sd_entry_is_in(entry, "/optimizer"));
}

static bool is_good(const char *path, double number) {
    return isfinite(number) || (isnan(number) && may_be_nan(path)) || (number == INFINITY && may_be_infinite(path));
}

static sd_status check_values(const sd_loaded *l, const sd_entry *entry, const void *values) {
    const bool is_counter = counts_steps(entry);
    const uint64_t steps = l->info.progress.step;
    char place[96];
    for (size_t i = 0; i < entry->elems; i++) {
        const double number = entry->kind == SD_ENTRY_TEXT ? 0 : sd_entry_number(entry, values, i);
        if (!is_good(entry->path, number))
            return sd_fail(SD_ERR_DATA, "%s: %s%s%s is %g", l->path, entry->path, entry->dims ? " " : "",
                           sd_entry_place(entry, i, place), number);
        const int64_t count = is_counter ? ((const int64_t *)values)[i] : 0;
        if (count < 0 || (uint64_t)count > steps)
            return sd_fail(SD_ERR_DATA, "%s: %s%s%s is %" PRId64 " after %" PRIu64 " steps", l->path, entry->path,
                           entry->dims ? " " : "", sd_entry_place(entry, i, place), count, steps);
    }
    return SD_OK;
}

static sd_status check_fraction(const char *path, const char *member, double value) {
    if (value < 0 || value > 1)
        return sd_fail(SD_ERR_DATA, "%s: /progress/%s is %g, not in 0..1", path, member, value);
    return SD_OK;
}

static sd_status check_fractions(const sd_loaded *l) {
#define CHECK_FRACTION(type, member, initial, role)                                                                    \
    if (SD_PROGRESS_##role == SD_PROGRESS_FRACTION)                                                                    \
        SD_TRY(check_fraction(l->path, #member, (double)l->info.progress.member));
    SD_PROGRESS_LIST(CHECK_FRACTION)
#undef CHECK_FRACTION
    return SD_OK;
}

static sd_status check_progress(const sd_loaded *l) {
    const sd_progress *p = &l->info.progress;
    const struct {
        bool holds;
        const char *what;
        uint64_t a, b;
    } rules[] = {
        {p->epoch <= p->step, "more epochs than steps", p->epoch, p->step},
        {p->batch <= p->step, "more batches in the current epoch than steps", p->batch, p->step},
        {p->best_step <= p->step, "the best checkpoint is of a later step", p->best_step, p->step},
        {p->best_val_epoch <= p->epoch, "the best validation is of a later epoch", p->best_val_epoch, p->epoch},
        {p->epoch_images <= p->images, "more images in the current epoch than in the run", p->epoch_images, p->images},
        {p->epoch_correct <= sd_progress_predictions(p),
         "more correct predictions than predictions in the current epoch", p->epoch_correct, p->epoch_images},
        {p->epoch_decisions <= p->decisions, "more decisions in the current epoch than in the run", p->epoch_decisions,
         p->decisions},
        {isnan(p->best_accuracy) == (p->best_step == 0), "best accuracy without its step, or the reverse", p->best_step,
         p->step},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (!rules[i].holds)
            return sd_fail(SD_ERR_DATA, "%s: /progress is inconsistent: %s (%" PRIu64 ", %" PRIu64 ")", l->path,
                           rules[i].what, rules[i].a, rules[i].b);
    return check_fractions(l);
}

/* Values first: sd_loaded_apply() would refuse them with a less specific message. */
static sd_status check(sd_loaded *l) {
    for (int i = 0; i < l->n_entries; i++) {
        void *values;
        SD_TRY(sd_checkpoint_read(l->file, &l->entries[i], &values));
        const sd_status status = check_values(l, &l->entries[i], values);
        free(values);
        SD_TRY(status);
    }
    SD_TRY(sd_loaded_apply(l));
    return check_progress(l);
}

static int count_tensors(const sd_loaded *l) {
    int n = 0;
    for (int i = 0; i < l->n_entries; i++)
        n += l->entries[i].kind == SD_ENTRY_F32;
    return n;
}

static void print_bad(const char *path) { printf("%s: BAD: %s\n", path, sd_reason_of(sd_error_message(), path)); }

static sd_status verify_checkpoint(const char *path) {
    static sd_loaded l; /* large */
    sd_status status = sd_loaded_open(path, &l);
    if (status == SD_OK)
        status = check(&l);
    if (status == SD_OK)
        printf("%s: good, step %" PRIu64 ", %d tensors, %zu bytes\n", path, l.info.progress.step, count_tensors(&l),
               sd_checkpoint_file_bytes(l.file));
    sd_loaded_close(&l);
    return status;
}

static sd_status verify_packed(const char *path) {
    sd_pack_info info;
    const sd_status status = sd_pack_verify(path, NULL, &info);
    if (status == SD_OK)
        printf("%s: good, %u training and %u test images in %d classes, %s, %" PRIu64 " bytes\n", path, info.images[0],
               info.images[1], info.classes, info.encoded ? "encoded" : "decoded", info.bytes);
    return status;
}

static sd_status verify(const char *path) {
    const sd_status status = sd_pack_is(path) ? verify_packed(path) : verify_checkpoint(path);
    if (status != SD_OK)
        print_bad(path);
    fflush(stdout); /* show each line at once */
    return status;
}

sd_status sd_tool_verify(int n, char **words, int *exit_code) {
    bool damaged = false;
    if (n == 0)
        return sd_fail(SD_ERR_USAGE, "verify needs a file (--help shows how)");
    for (int i = 0; i < n; i++)
        if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "verify has no option %s (--help lists all)", words[i]);
    for (int i = 0; i < n; i++) {
        const sd_status status = verify(words[i]);
        damaged |= status != SD_OK && status != SD_ERR_NOINPUT;
        if (status != SD_OK && (status != SD_ERR_NOINPUT || !damaged))
            *exit_code = sd_status_exit_code(status);
    }
    return SD_OK;
}
