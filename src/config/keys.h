/* SPDX-License-Identifier: Apache-2.0 */
/* Private to config/: the table of keys. */
#ifndef SDTRAIN_CONFIG_KEYS_H
#define SDTRAIN_CONFIG_KEYS_H

#include "sdtrain/config.h"

typedef enum key_type {
    KEY_TEXT,
    KEY_PATH,
    KEY_WHOLE,
    KEY_REAL,
    KEY_SWITCH,
    KEY_CHOICE,
    KEY_LIST,
    KEY_WHOLES
} key_type;

typedef struct key {
    const char *section, *name;
    key_type type;
    size_t offset; /* in sd_config */
    const char *initial;
    double low, high;    /* KEY_WHOLE, KEY_REAL and the values of lists; both ends allowed */
    const char *choices; /* KEY_CHOICE: "first|second"; KEY_WHOLE: a word that stands for 0, or NULL */
    bool results;        /* changes results: a resume with another value is refused */
    const char *help;
} key;

extern const key sd_keys[];
extern const int sd_n_keys;

/* Keys planned for later versions, "section.name". */
extern const char *const sd_keys_later[];

const key *sd_key_find(const char *section, const char *name);
/* Of real (KEY_LIST) or whole numbers (KEY_WHOLES). */
static inline bool sd_key_is_list(const key *k) { return k->type == KEY_LIST || k->type == KEY_WHOLES; }
static inline void *sd_key_value(const key *k, const sd_config *config) { return (char *)config + k->offset; }

/* The index of word in "a|b|c", or -1. */
int sd_choice_find(const char *choices, const char *word);
/* Copies word number i of "a|b|c". */
void sd_choice_name(const char *choices, int i, char *word, size_t word_bytes);

/* Parses text and stores the value in config (a list: appends entries); false if it is not allowed. */
bool sd_key_read(const key *k, sd_config *config, const char *text);
/* Describes the allowed values in words. */
void sd_key_allowed(const key *k, char *text, size_t text_bytes);
/* Prints a value as in a configuration file. */
void sd_key_print(const key *k, const sd_config *config, char *text, size_t text_bytes);

#endif
