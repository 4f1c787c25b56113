/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain diff: compares the states of two checkpoints bit for bit, and shows the first difference. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "tools.h"

static bool is_one_of(const char *path, size_t n, const char *const *paths) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(path, paths[i]))
            return true;
    return false;
}

/* Whether a dataset is no part of the state: machine, times, and names. */
static bool is_circumstance(const char *path, bool in_one_only) {
    static const char *const paths[] = {"/config", "/progress/timing", "isa", "ranks", "threads"};
    static const char *const younger[] = {"/data/hash",
                                          "/data/images",
                                          "/data/samples",
                                          "/data/classes",
                                          "/progress/best_val_accuracy",
                                          "/progress/best_val_epoch"}; /* absent in older files */
#define IS_CIRCUMSTANCE(type, member, initial, role)                                                                   \
    if (SD_PROGRESS_##role == SD_PROGRESS_CIRCUMSTANCE && !strcmp(path, "/progress/" #member))                         \
        return true;
    SD_PROGRESS_LIST(IS_CIRCUMSTANCE)
#undef IS_CIRCUMSTANCE
    return is_one_of(path, sizeof paths / sizeof paths[0], paths) ||
           (in_one_only && is_one_of(path, sizeof younger / sizeof younger[0], younger));
}

typedef struct side {
    const char *path;
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    sd_entry *entries;
    int n, next;
} side;

typedef struct comparison {
    side a, b;
    bool all;
    uint64_t datasets, values, different_datasets, different_values; /* of the state */
    double largest;
    char largest_at[SD_ENTRY_PATH + 96];
    int circumstances; /* number that differ */
} comparison;

/* ---- values ---- */

/* Maps floating-point numbers to integers monotonically; adjacent numbers differ by one. */
static uint64_t ordered_bits(const sd_entry *entry, const void *values, size_t i) {
    if (entry->kind == SD_ENTRY_F32) {
        const uint32_t bits = ((const uint32_t *)values)[i];
        return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
    }
    const uint64_t bits = ((const uint64_t *)values)[i];
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static void print_value(const char *name, const sd_entry *entry, const void *values, size_t i) {
    const double number = entry->kind == SD_ENTRY_TEXT ? 0 : sd_entry_number(entry, values, i);
    printf("  %-6s ", name);
    switch (entry->kind) {
    case SD_ENTRY_F32:
        printf("%.9g (%a)\n", number, number);
        break;
    case SD_ENTRY_F64:
        printf("%.17g (%a)\n", number, number);
        break;
    case SD_ENTRY_I64:
        printf("%" PRId64 "\n", ((const int64_t *)values)[i]);
        break;
    case SD_ENTRY_U64:
        printf("%" PRIu64 "\n", ((const uint64_t *)values)[i]);
        break;
    case SD_ENTRY_TEXT:
        printf("\"%s\"\n", (const char *)values);
    }
}

static void print_first(const sd_entry *entry, const void *a, const void *b, size_t i) {
    char place[96];
    printf("first difference: %s%s%s\n", entry->path, entry->dims ? " " : "", sd_entry_place(entry, i, place));
    print_value("A", entry, a, i);
    print_value("B", entry, b, i);
    if (entry->kind == SD_ENTRY_TEXT)
        return;
    const double x = sd_entry_number(entry, a, i), y = sd_entry_number(entry, b, i);
    const bool is_float = entry->kind == SD_ENTRY_F32 || entry->kind == SD_ENTRY_F64;
    if (is_float && !isnan(x) && !isnan(y)) {
        const uint64_t p = ordered_bits(entry, a, i), q = ordered_bits(entry, b, i);
        printf("  apart  %.9g, %" PRIu64 " units in the last place\n", fabs(x - y), p > q ? p - q : q - p);
    } else if (!is_float) {
        printf("  apart  %.17g\n", fabs(x - y));
    }
}

/* Records the largest difference of float32 values. */
static void note_largest(comparison *c, const sd_entry *entry, const void *a, const void *b, size_t i) {
    const double difference = fabs(sd_entry_number(entry, a, i) - sd_entry_number(entry, b, i));
    char place[96];
    if (entry->kind != SD_ENTRY_F32 || !isfinite(difference) || difference < c->largest ||
        (difference == c->largest && c->largest_at[0]))
        return;
    c->largest = difference;
    snprintf(c->largest_at, sizeof c->largest_at, "%s%s%s", entry->path, entry->dims ? " " : "",
             sd_entry_place(entry, i, place));
}

/* Returns the number of values that differ; prints the first difference of the comparison. */
static uint64_t compare_values(comparison *c, const sd_entry *entry, const void *a, const void *b) {
    const size_t bytes = entry->kind == SD_ENTRY_F32 ? sizeof(float) : sizeof(uint64_t);
    uint64_t different = 0;
    if (entry->kind == SD_ENTRY_TEXT) {
        different = strcmp(a, b) != 0;
        if (different && c->different_datasets == 0)
            print_first(entry, a, b, 0);
        return different;
    }
    for (size_t i = 0; i < entry->elems; i++) {
        if (!memcmp((const char *)a + i * bytes, (const char *)b + i * bytes, bytes))
            continue;
        if (different++ == 0 && c->different_datasets == 0)
            print_first(entry, a, b, i);
        note_largest(c, entry, a, b, i);
    }
    return different;
}

/* ---- entries ---- */

static void print_one_sided(const comparison *c, const sd_entry *entry, const char *name) {
    if (c->different_datasets == 0)
        printf("first difference: %s is in %s only\n", entry->path, name);
}

static bool same_form(const sd_entry *a, const sd_entry *b) {
    bool same = a->kind == b->kind && a->dims == b->dims;
    if (a->kind != SD_ENTRY_TEXT) /* texts of different lengths have one form */
        same = same && a->elem_bytes == b->elem_bytes;
    for (int i = 0; same && i < a->dims; i++)
        same = a->shape[i] == b->shape[i];
    return same;
}

static void print_forms(const comparison *c, const sd_entry *a, const sd_entry *b) {
    char shape[2][96], type[2][16];
    if (c->different_datasets == 0)
        printf("first difference: %s is %s %s in A and %s %s in B\n", a->path, sd_entry_type(a, type[0]),
               a->dims ? sd_entry_shape(a, shape[0]) : "value", sd_entry_type(b, type[1]),
               b->dims ? sd_entry_shape(b, shape[1]) : "value");
}

/* Whether an entry is a member of /progress with its initial value, as an older file without it has implicitly. */
static sd_status is_initial(const side *s, const sd_entry *entry, bool *same) {
    void *values;
    *same = false;
    if (!sd_entry_is_in(entry, "/progress") || entry->elems != 1)
        return SD_OK;
    SD_TRY(sd_checkpoint_read(s->file, entry, &values));
#define COMPARE_MEMBER(type, member, initial, role)                                                                    \
    if (!strcmp(entry->path, "/progress/" #member))                                                                    \
        *same = !memcmp(values, &(type){initial}, sizeof(type));
    SD_PROGRESS_LIST(COMPARE_MEMBER)
#undef COMPARE_MEMBER
    free(values);
    return SD_OK;
}

/* Compares two entries of the same form. *different: number of values that differ. */
static sd_status compare_pair(comparison *c, const sd_entry *a, const sd_entry *b, uint64_t *different) {
    void *x = NULL, *y = NULL;
    sd_status status = sd_checkpoint_read(c->a.file, a, &x);
    if (status == SD_OK)
        status = sd_checkpoint_read(c->b.file, b, &y);
    if (status == SD_OK)
        *different = compare_values(c, a, x, y);
    free(x);
    free(y);
    return status;
}

/* Counts circumstances that differ, and prints them with --all. */
static sd_status compare_circumstance(comparison *c, const sd_entry *a, const sd_entry *b) {
    bool differ = !a || !b || !same_form(a, b);
    void *x = NULL, *y = NULL;
    sd_status status = SD_OK;
    if (!differ)
        status = sd_checkpoint_read(c->a.file, a, &x);
    if (!differ && status == SD_OK)
        status = sd_checkpoint_read(c->b.file, b, &y);
    if (!differ && status == SD_OK)
        differ = a->kind == SD_ENTRY_TEXT
                     ? strcmp(x, y) != 0
                     : memcmp(x, y, a->elems * (a->kind == SD_ENTRY_F32 ? sizeof(float) : sizeof(uint64_t))) != 0;
    free(x);
    free(y);
    c->circumstances += status == SD_OK && differ;
    if (status == SD_OK && differ && c->all)
        printf("no part of the state, and different: %s\n", (a ? a : b)->path);
    return status;
}

static sd_status compare_state(comparison *c, const sd_entry *a, const sd_entry *b) {
    uint64_t different = 0;
    bool same = false;
    c->datasets++;
    c->values += (a ? a : b)->elems;
    if (!a || !b)
        SD_TRY(is_initial(a ? &c->a : &c->b, a ? a : b, &same));
    if (same)
        return SD_OK;
    if (!a || !b)
        print_one_sided(c, a ? a : b, a ? "A" : "B");
    else if (!same_form(a, b))
        print_forms(c, a, b);
    else
        SD_TRY(compare_pair(c, a, b, &different));
    const bool paired = a && b && same_form(a, b);
    c->different_datasets += !paired || different > 0;
    c->different_values += paired ? different : (a ? a : b)->elems;
    return SD_OK;
}

/* Compares the entries of the next name in order, which one side or both have. */
static sd_status compare_next(comparison *c) {
    const sd_entry *a = c->a.next < c->a.n ? &c->a.entries[c->a.next] : NULL,
                   *b = c->b.next < c->b.n ? &c->b.entries[c->b.next] : NULL;
    const int order = !a ? 1 : !b ? -1 : strcmp(a->path, b->path);
    if (order > 0)
        a = NULL;
    if (order < 0)
        b = NULL;
    c->a.next += a != NULL;
    c->b.next += b != NULL;
    return is_circumstance((a ? a : b)->path, !a || !b) ? compare_circumstance(c, a, b) : compare_state(c, a, b);
}

static void print_end(const comparison *c) {
    const uint64_t steps[] = {c->a.info.progress.step, c->b.info.progress.step};
    if (c->different_datasets == 0) {
        printf("equal: step %" PRIu64 ", %" PRIu64 " datasets, %" PRIu64 " values\n", steps[0], c->datasets, c->values);
        return;
    }
    if (steps[0] != steps[1])
        printf("A is of step %" PRIu64 ", B of step %" PRIu64 "\n", steps[0], steps[1]);
    printf("different: %" PRIu64 " of %" PRIu64 " values in %" PRIu64 " of %" PRIu64 " datasets", c->different_values,
           c->values, c->different_datasets, c->datasets);
    if (c->largest_at[0])
        printf("; largest difference of a float32 %.9g in %s", c->largest, c->largest_at);
    printf("\n");
}

static sd_status open_side(const char *path, side *s) {
    s->path = path;
    SD_TRY(sd_checkpoint_open(path, 0, &s->file, &s->info));
    return sd_checkpoint_entries(s->file, &s->entries, &s->n);
}

static void close_side(side *s) {
    sd_checkpoint_close(&s->file);
    sd_checkpoint_info_free(&s->info);
    free(s->entries);
}

static sd_status compare(comparison *c, const char *const *files) {
    SD_TRY(open_side(files[0], &c->a));
    SD_TRY(open_side(files[1], &c->b));
    while (c->a.next < c->a.n || c->b.next < c->b.n)
        SD_TRY(compare_next(c));
    print_end(c);
    return SD_OK;
}

sd_status sd_tool_diff(int n, char **words, int *exit_code) {
    const char *files[2];
    int n_files = 0;
    comparison c = {0};
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--all"))
            c.all = true;
        else if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "diff has no option %s (--help lists all)", words[i]);
        else if (n_files == 2)
            return sd_fail(SD_ERR_USAGE, "diff compares two files; a third is given, %s", words[i]);
        else
            files[n_files++] = words[i];
    }
    if (n_files < 2)
        return sd_fail(SD_ERR_USAGE, "diff needs two files (--help shows how)");
    const sd_status status = compare(&c, files);
    close_side(&c.a);
    close_side(&c.b);
    *exit_code = c.different_datasets > 0;
    return status;
}
