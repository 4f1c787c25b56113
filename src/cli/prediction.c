/* SPDX-License-Identifier: Apache-2.0 */
#include "prediction.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "shown.h"

/* ---- the most probable classes ---- */

/* Puts a class among the n found, of which at most k are kept. */
static int insert(sd_prediction *top, int n, int k, int label, double logit) {
    int at = n < k ? n : k - 1;
    if (n == k && !(logit > top[at].probability))
        return n;
    for (; at > 0 && logit > top[at - 1].probability; at--)
        top[at] = top[at - 1];
    top[at] = (sd_prediction){label, logit};
    return n < k ? n + 1 : k;
}

bool sd_predictions_of(const float *logits, int classes, int k, sd_prediction *top) {
    int n = 0;
    double sum = 0;
    for (int c = 0; c < classes; c++) {
        if (!isfinite(logits[c]))
            return false;
        n = insert(top, n, k, c, (double)logits[c]);
    }
    const double highest = top[0].probability;
    for (int c = 0; c < classes; c++)
        sum += exp((double)logits[c] - highest);
    for (int i = 0; i < n; i++)
        top[i].probability = exp(top[i].probability - highest) / sum;
    return true;
}

/* ---- names ---- */

enum { NUMBER_BYTES = 12 };

static sd_status number_classes(sd_class_names *names) {
    SD_TRY(sd_alloc(&names->text, (size_t)names->n, NUMBER_BYTES));
    for (int c = 0; c < names->n; c++) {
        char *number = names->text + (size_t)c * NUMBER_BYTES;
        snprintf(number, NUMBER_BYTES, "%d", c);
        names->name[c] = number;
    }
    return SD_OK;
}

static sd_status split_lines(const char *path, const char *lines, sd_class_names *names) {
    int n = 0;
    const size_t bytes = strlen(lines) + 1;
    SD_TRY(sd_alloc(&names->text, bytes, 1));
    memcpy(names->text, lines, bytes);
    for (char *line = names->text; *line; n++) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
        *end = '\0';
        if (n < names->n)
            names->name[n] = line;
        line = next;
    }
    if (n != names->n)
        return sd_fail(SD_ERR_DATA, "%s: /data/classes names %d classes, where the network has %d", path, n, names->n);
    return SD_OK;
}

sd_status sd_class_names_init(const char *path, const char *lines, int n, sd_class_names *names) {
    *names = (sd_class_names){.n = n};
    SD_TRY(sd_alloc(&names->name, (size_t)n, sizeof *names->name));
    SD_TRY(lines ? split_lines(path, lines, names) : number_classes(names));
    for (int c = 0; c < n; c++) {
        const int width = sd_shown_width(names->name[c]);
        names->width = width > names->width ? width : names->width;
    }
    return SD_OK;
}

void sd_class_names_free(sd_class_names *names) {
    free(names->text);
    free(names->name);
    *names = (sd_class_names){0};
}

/* ---- printing ---- */

enum { WIDEST_NAME = 24 }; /* that other names are padded to */

static void print_plain(const sd_prediction_printer *printer, const char *path, int k, const sd_prediction *top) {
    const sd_class_names *names = printer->names;
    sd_show_plain(path, printer->path_width);
    for (int i = 0; i < k; i++) {
        fputs("  ", stdout);
        sd_show_plain(names->name[top[i].label], names->width < WIDEST_NAME ? names->width : WIDEST_NAME);
        printf(" %5.1f %%", 100 * top[i].probability);
    }
    putchar('\n');
}

static void print_csv(const sd_prediction_printer *printer, const char *path, int k, const sd_prediction *top) {
    for (int i = 0; i < k; i++) {
        sd_show_csv(path);
        printf(",%d,", i + 1);
        sd_show_csv(printer->names->name[top[i].label]);
        printf(",%d,%.9g\n", top[i].label, top[i].probability);
    }
}

static void begin_object(sd_prediction_printer *printer, const char *path) {
    fputs(printer->is_later ? ",\n{\"path\": " : "\n{\"path\": ", stdout);
    printer->is_later = true;
    sd_show_json(path);
}

static void print_json(sd_prediction_printer *printer, const char *path, int k, const sd_prediction *top) {
    begin_object(printer, path);
    fputs(", \"predictions\": [", stdout);
    for (int i = 0; i < k; i++) {
        printf("%s{\"label\": %d, \"class\": ", i ? ", " : "", top[i].label);
        sd_show_json(printer->names->name[top[i].label]);
        printf(", \"probability\": %.9g}", top[i].probability);
    }
    fputs("]}", stdout);
}

void sd_prediction_print_begin(const sd_prediction_printer *printer) {
    if (printer->format == SD_PREDICTION_CSV)
        puts("path,rank,class,label,probability");
    if (printer->format == SD_PREDICTION_JSON)
        putchar('[');
}

void sd_prediction_print(sd_prediction_printer *printer, const char *path, int k, const sd_prediction *top) {
    if (printer->format == SD_PREDICTION_PLAIN)
        print_plain(printer, path, k, top);
    else if (printer->format == SD_PREDICTION_CSV)
        print_csv(printer, path, k, top);
    else
        print_json(printer, path, k, top);
}

void sd_prediction_print_bad(sd_prediction_printer *printer, const char *path, const char *reason) {
    if (printer->format != SD_PREDICTION_JSON)
        return;
    begin_object(printer, path);
    fputs(", \"error\": ", stdout);
    sd_show_json(reason);
    putchar('}');
}

void sd_prediction_print_end(const sd_prediction_printer *printer) {
    if (printer->format == SD_PREDICTION_JSON)
        puts("\n]");
}
