/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: JSON text of foreign files, read from front to back as RFC 8259 defines it.
 *
 * No tree is made (of a hostile header of 100 MB, cJSON makes one of 2.6 GB), nothing is allocated, nothing is
 * recursive, and numbers are whole and exact to 64 bits. Every refusal is SD_ERR_DATA with path, tensor and byte of the
 * file. */
#ifndef SDTRAIN_CHECKPOINT_JSON_TEXT_H
#define SDTRAIN_CHECKPOINT_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

typedef struct sd_json {
    const char *path;   /* for messages */
    const char *tensor; /* whose entry is being read, for messages; NULL: none */
    char *text;         /* [n] UTF-8, found valid before; strings are unescaped where they stand */
    size_t n, at;
    size_t first_byte; /* where in the file text begins */
} sd_json;

/* The next character that is no white space must be this one. */
sd_status sd_json_take(sd_json *json, char punctuation);

/* Behind an opening bracket (first) or a value: whether there is a value more, or the closing bracket, which is
 * taken. */
sd_status sd_json_more(sd_json *json, char closing, bool first, bool *more);

/* A string, with a zero behind it, in text. One that contains a zero character is refused. */
sd_status sd_json_string(sd_json *json, char **string);

/* A whole number from 0 to 2^64 - 1, without fraction and exponent. */
sd_status sd_json_natural(sd_json *json, uint64_t *number);

/* Nothing but white space is left. */
sd_status sd_json_end(sd_json *json);

/* SD_ERR_DATA: PATH: [tensor NAME,] byte AT: WHAT. at: in text. */
sd_status sd_json_refuse(const sd_json *json, size_t at, const char *what);

/* How many bytes from the front are UTF-8 (Unicode 15, table 3-7): n if all are. */
size_t sd_utf8_valid_bytes(const char *text, size_t n);

#endif
