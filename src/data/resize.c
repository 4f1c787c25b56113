/* SPDX-License-Identifier: Apache-2.0 */
#include "resize.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

enum {
    HALF = 1 << (SD_RESAMPLE_BITS - 1),
    STRIP = 1024, /* sums of a row that are kept in the nearest cache */
};

sd_resize_spec sd_resize_whole(const sd_view *from, sd_filter filter, int width, int height) {
    return (sd_resize_spec){
        filter, 0, 0, (float)from->width, (float)from->height, width, height, {0, 0, width, height}};
}

void sd_resizer_free(sd_resizer *resizer) {
    sd_resample_free(&resizer->horizontal);
    sd_resample_free(&resizer->vertical);
    free(resizer->between);
    *resizer = (sd_resizer){0};
}

static sd_status reserve_between(sd_resizer *resizer, size_t bytes) {
    if (bytes <= resizer->capacity_bytes)
        return SD_OK;
    free(resizer->between);
    resizer->capacity_bytes = 0;
    SD_TRY(sd_alloc(&resizer->between, bytes, 1));
    resizer->capacity_bytes = bytes;
    return SD_OK;
}

/* One direction of a resize. */
typedef struct direction {
    const sd_resample *weights;
    bool is_shift;    /* output x is input first + x: there is nothing to compute */
    int first, count; /* inputs that the wanted outputs need */
    int outputs;      /* wanted */
} direction;

/* A shift has weights 1 and 0 exactly, so that leaving it out changes no byte. */
static sd_status plan(const sd_resample_spec *spec, sd_resample *weights, direction *plan) {
    SD_TRY(sd_resample_make(weights, spec));
    const int last = spec->count - 1, first = weights->begin[0];
    *plan = (direction){weights, false, first, weights->begin[last] + weights->inputs[last] - first, spec->count};
    if (spec->to - spec->from == (double)spec->out && spec->from == floorf(spec->from))
        *plan = (direction){weights, true, (int)spec->from + spec->first, spec->count, spec->count};
    return SD_OK;
}

/* The sum of a value's |weights| is at most 1.3, so 32 bits hold it. */
static inline uint8_t to_byte(int32_t sum) {
    const int32_t value = sum >> SD_RESAMPLE_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row. from: [columns->count, 3], to: [columns->outputs, 3] */
static void resample_row(const direction *columns, const uint8_t *restrict from, uint8_t *restrict to) {
    const sd_resample *weights = columns->weights;
    const int32_t *weight = weights->fixed;
    for (int x = 0; x < columns->outputs; x++, weight += weights->taps, to += SD_CHANNELS) {
        const uint8_t *pixel = from + (size_t)(weights->begin[x] - columns->first) * SD_CHANNELS;
        const int inputs = weights->inputs[x];
        int32_t red = HALF, green = HALF, blue = HALF;
        for (int i = 0; i < inputs; i++, pixel += SD_CHANNELS) {
            red += weight[i] * pixel[0];
            green += weight[i] * pixel[1];
            blue += weight[i] * pixel[2];
        }
        to[0] = to_byte(red);
        to[1] = to_byte(green);
        to[2] = to_byte(blue);
    }
}

/* from: [height, columns->count, 3], to: [height, columns->outputs, 3] */
static void resample_rows(const direction *columns, const sd_view *from, uint8_t *to, size_t to_row_bytes) {
    for (int y = 0; y < from->height; y++)
        resample_row(columns, sd_view_at(from, 0, y), to + (size_t)y * to_row_bytes);
}

/* sums[i] += sum over rows of weight * row[i]; two rows at a time, which halves the loads and stores of sums. */
static void add_rows(int32_t *restrict sums, const uint8_t *restrict row, size_t row_bytes, const int32_t *weight,
                     int rows, int values) {
    int y = 0;
    for (; y + 2 <= rows; y += 2, row += 2 * row_bytes) {
        const uint8_t *restrict next = row + row_bytes;
        const int32_t a = weight[y], b = weight[y + 1];
        for (int i = 0; i < values; i++)
            sums[i] += a * row[i] + b * next[i];
    }
    if (y < rows)
        for (int i = 0; i < values; i++)
            sums[i] += weight[y] * row[i];
}

/* Output row y, strip by strip. */
static void resample_column(const direction *rows, int y, const sd_view *from, uint8_t *restrict to) {
    const sd_resample *weights = rows->weights;
    const int32_t *weight = weights->fixed + (size_t)y * (size_t)weights->taps;
    const uint8_t *row = sd_view_at(from, 0, weights->begin[y] - rows->first);
    const size_t row_values = (size_t)from->width * SD_CHANNELS;
    for (size_t at = 0; at < row_values; at += STRIP) {
        const int values = row_values - at < STRIP ? (int)(row_values - at) : STRIP;
        int32_t sums[STRIP];
        for (int i = 0; i < values; i++)
            sums[i] = HALF;
        add_rows(sums, row + at, from->row_bytes, weight, weights->inputs[y], values);
        for (int i = 0; i < values; i++)
            to[at + (size_t)i] = to_byte(sums[i]);
    }
}

/* from: [rows->count, width, 3], to: [rows->outputs, width, 3] */
static void resample_columns(const direction *rows, const sd_view *from, uint8_t *to, size_t to_row_bytes) {
    for (int y = 0; y < rows->outputs; y++)
        resample_column(rows, y, from, to + (size_t)y * to_row_bytes);
}

static void copy_rows(const sd_view *from, uint8_t *to, size_t to_row_bytes) {
    for (int y = 0; y < from->height; y++)
        memcpy(to + (size_t)y * to_row_bytes, sd_view_at(from, 0, y), (size_t)from->width * SD_CHANNELS);
}

/* Pillow 13's rule, by the sizes of the whole picture and the whole result, whatever the box. */
static bool columns_come_first(const sd_view *from, const sd_resize_spec *spec) {
    const int64_t lost_rows = (int64_t)from->height - spec->height, lost_columns = (int64_t)from->width - spec->width;
    return lost_rows > 0 && lost_rows > 2 * lost_columns;
}

/* from: [rows->count, columns->count, 3], to: [rows->outputs, columns->outputs, 3] */
static sd_status resample_both(const direction *columns, const direction *rows, bool columns_first, const sd_view *from,
                               uint8_t *to, size_t to_row_bytes, sd_resizer *resizer) {
    const int width = columns_first ? columns->count : columns->outputs;
    const int height = columns_first ? rows->outputs : rows->count;
    const size_t row_bytes = (size_t)width * SD_CHANNELS;
    SD_TRY(reserve_between(resizer, row_bytes * (size_t)height));
    const sd_view between = {resizer->between, width, height, row_bytes};
    if (columns_first) {
        resample_columns(rows, from, resizer->between, row_bytes);
        resample_rows(columns, &between, to, to_row_bytes);
    } else {
        resample_rows(columns, from, resizer->between, row_bytes);
        resample_columns(rows, &between, to, to_row_bytes);
    }
    return SD_OK;
}

sd_status sd_resize(const sd_view *from, const sd_resize_spec *spec, uint8_t *to, size_t to_row_bytes,
                    sd_resizer *resizer) {
    const sd_rect part = spec->part;
    const sd_resample_spec horizontal = {
        spec->filter, from->width, spec->left, spec->right, spec->width, part.left, part.width,
    };
    const sd_resample_spec vertical = {
        spec->filter, from->height, spec->top, spec->bottom, spec->height, part.top, part.height,
    };
    direction columns, rows;
    SD_TRY(plan(&horizontal, &resizer->horizontal, &columns));
    SD_TRY(plan(&vertical, &resizer->vertical, &rows));
    const sd_view needed = sd_view_part(from, (sd_rect){columns.first, rows.first, columns.count, rows.count});
    if (!columns.is_shift && !rows.is_shift)
        return resample_both(&columns, &rows, columns_come_first(from, spec), &needed, to, to_row_bytes, resizer);
    if (!columns.is_shift)
        resample_rows(&columns, &needed, to, to_row_bytes);
    else if (!rows.is_shift)
        resample_columns(&rows, &needed, to, to_row_bytes);
    else
        copy_rows(&needed, to, to_row_bytes);
    return SD_OK;
}
