/* SPDX-License-Identifier: Apache-2.0 */
#include "label_names.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

enum { MOST_DIGITS = 18 };

static int compare_cells(const sd_cell *a, const sd_cell *b) {
    const int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order != 0 ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int by_label(const void *a, const void *b) {
    return compare_cells(&((const sd_label_name *)a)->label, &((const sd_label_name *)b)->label);
}

/* Whether a label is a whole number, as people write it: no plus sign, no zero in front. */
static bool whole_number(const sd_cell *cell, int64_t *value) {
    const size_t sign = cell->bytes > 0 && cell->text[0] == '-';
    *value = 0;
    if (cell->bytes == sign || cell->bytes > sign + MOST_DIGITS || (cell->text[sign] == '0' && cell->bytes > 1))
        return false;
    for (size_t i = sign; i < cell->bytes; i++) {
        if (cell->text[i] < '0' || cell->text[i] > '9')
            return false;
        *value = 10 * *value + (cell->text[i] - '0');
    }
    *value = sign ? -*value : *value;
    return true;
}

static bool all_numbers(const sd_label_names *names) {
    int64_t value;
    for (int i = 0; i < names->n; i++)
        if (!whole_number(&names->sorted[i].label, &value))
            return false;
    return true;
}

static int by_value(const void *a, const void *b) {
    int64_t x, y;
    whole_number(&(*(sd_label_name *const *)a)->label, &x);
    whole_number(&(*(sd_label_name *const *)b)->label, &y);
    return (x > y) - (x < y);
}

/* Sorts the labels, and keeps one of each. */
static sd_status gather(size_t n, const sd_cell *labels, sd_label_names *names) {
    sd_label_name *all;
    int kept = 0;
    SD_TRY(sd_alloc(&all, n, sizeof *all));
    names->sorted = all;
    for (size_t i = 0; i < n; i++)
        all[i].label = labels[i];
    qsort(all, n, sizeof *all, by_label);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_label(&all[i], &all[kept - 1]) != 0)
            all[kept++] = all[i];
    names->n = kept;
    return SD_OK;
}

static sd_status alloc_names(sd_label_names *names, int classes) {
    names->classes = classes;
    SD_TRY(sd_alloc(&names->name, (size_t)classes, sizeof *names->name));
    return sd_alloc(&names->name_bytes, (size_t)classes, sizeof *names->name_bytes);
}

static void call(sd_label_names *names, int class, const sd_cell *name) {
    names->name[class] = name->text;
    names->name_bytes[class] = name->bytes;
}

/* ---- without a list ---- */

static sd_status number_classes(sd_label_names *names) {
    sd_label_name **order;
    SD_TRY(alloc_names(names, names->n));
    SD_TRY(sd_alloc(&order, (size_t)names->n, sizeof *order));
    for (int i = 0; i < names->n; i++)
        order[i] = &names->sorted[i];
    if (all_numbers(names))
        qsort(order, (size_t)names->n, sizeof *order, by_value);
    for (int i = 0; i < names->n; i++) {
        order[i]->class = i;
        call(names, i, &order[i]->label);
    }
    free(order);
    return SD_OK;
}

/* ---- with a list ---- */

/* The next line of a list, without its end; false at the end. */
static bool next_line(const char *list, size_t bytes, size_t *at, sd_cell *line) {
    if (*at >= bytes)
        return false;
    const char *end = memchr(list + *at, '\n', bytes - *at);
    const size_t stop = end ? (size_t)(end - list) : bytes;
    *line = (sd_cell){list + *at, stop - *at};
    if (line->bytes > 0 && line->text[line->bytes - 1] == '\r')
        line->bytes--;
    *at = stop + 1;
    return true;
}

static int count_lines(const char *list, size_t bytes) {
    sd_cell line;
    int lines = 0;
    for (size_t at = sd_table_mark_bytes(list, bytes); next_line(list, bytes, &at, &line);)
        lines++;
    return lines;
}

typedef struct listed {
    sd_cell name;
    int line; /* from 1 */
} listed;

static int by_name(const void *a, const void *b) {
    const listed *x = a, *y = b;
    const int order = compare_cells(&x->name, &y->name);
    return order != 0 ? order : x->line - y->line;
}

static sd_status check_lines(const char *path, const char *list, size_t bytes, listed *lines) {
    int n = 0;
    for (size_t at = sd_table_mark_bytes(list, bytes); next_line(list, bytes, &at, &lines[n].name); n++) {
        lines[n].line = n + 1;
        if (lines[n].name.bytes == 0)
            return sd_fail(SD_ERR_DATA, "%s:%d: the line is empty; the name of a class is expected on every line", path,
                           n + 1);
    }
    qsort(lines, (size_t)n, sizeof *lines, by_name);
    for (int i = 1; i < n; i++)
        if (!compare_cells(&lines[i - 1].name, &lines[i].name))
            return sd_fail(SD_ERR_DATA, "%s:%d: the name of the class is that of line %d", path, lines[i].line,
                           lines[i - 1].line);
    return SD_OK;
}

sd_status sd_label_list_check(const char *path, const char *list, size_t bytes) {
    const int n = count_lines(list, bytes);
    listed *lines;
    SD_TRY(sd_table_check_text(path, list, bytes));
    if (n == 0)
        return sd_fail(SD_ERR_DATA, "%s: it is empty; the name of a class is expected on every line", path);
    SD_TRY(sd_alloc(&lines, (size_t)n, sizeof *lines));
    const sd_status status = check_lines(path, list, bytes, lines);
    free(lines);
    return status;
}

static sd_status read_list(const char *list, size_t bytes, sd_label_names *names) {
    sd_cell line;
    int classes = count_lines(list, bytes);
    SD_TRY(alloc_names(names, classes));
    classes = 0;
    for (size_t at = sd_table_mark_bytes(list, bytes); next_line(list, bytes, &at, &line);)
        call(names, classes++, &line);
    return SD_OK;
}

static int class_of_name(const sd_label_names *names, const sd_cell *label) {
    for (int c = 0; c < names->classes; c++)
        if (!compare_cells(label, &(sd_cell){names->name[c], names->name_bytes[c]}))
            return c;
    return -1;
}

static bool all_are_names(const sd_label_names *names) {
    for (int i = 0; i < names->n; i++)
        if (class_of_name(names, &names->sorted[i].label) < 0)
            return false;
    return true;
}

/* Numbers count the lines from 1 if one of them is their number, else from 0. */
static int64_t first_number(const sd_label_names *names) {
    int64_t value;
    for (int i = 0; i < names->n; i++)
        if (whole_number(&names->sorted[i].label, &value) && value == names->classes)
            return 1;
    return 0;
}

static void match_list(sd_label_names *names) {
    const bool by_number = !all_are_names(names) && all_numbers(names);
    const int64_t first = first_number(names);
    for (int i = 0; i < names->n; i++) {
        sd_label_name *label = &names->sorted[i];
        int64_t value;
        label->class = class_of_name(names, &label->label);
        if (by_number && whole_number(&label->label, &value))
            label->class = value >= first && value < first + names->classes ? (int)(value - first) : -1;
    }
}

/* ---- both ---- */

sd_status sd_label_names_make(size_t n, const sd_cell *labels, const char *list, size_t list_bytes,
                              sd_label_names *names, int64_t *unknown) {
    *names = (sd_label_names){0};
    *unknown = -1;
    SD_TRY(gather(n, labels, names));
    if (!list)
        return number_classes(names);
    names->is_listed = true;
    SD_TRY(read_list(list, list_bytes, names));
    match_list(names);
    for (size_t i = 0; i < n && *unknown < 0; i++)
        if (sd_label_class(names, &labels[i]) < 0)
            *unknown = (int64_t)i;
    return *unknown < 0 ? SD_OK : SD_ERR_DATA;
}

void sd_label_names_free(sd_label_names *names) {
    free(names->sorted);
    free(names->name);
    free(names->name_bytes);
    *names = (sd_label_names){0};
}

int sd_label_class(const sd_label_names *names, const sd_cell *label) {
    const sd_label_name wanted = {.label = *label};
    const sd_label_name *found = bsearch(&wanted, names->sorted, (size_t)names->n, sizeof wanted, by_label);
    return found ? found->class : names->is_listed ? class_of_name(names, label) : -1;
}
