/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the table of keys as Markdown, a table a section: configs/README.md has them (keys_test.sh). */
#include <string.h>

#include "../../src/config/keys.h"

/* Text in a cell, where a bar would end it. */
static void print_cell(const char *text) {
    for (; *text; text++)
        printf("%s%c", *text == '|' ? "\\" : "", *text);
}

/* The words of "a|b|c", each as code. */
static void print_words(const char *choices) {
    for (const char *word = choices; *word;) {
        const size_t bytes = strcspn(word, "|");
        printf("%s`%.*s`", word == choices ? "" : ", ", (int)bytes, word);
        word += bytes + (word[bytes] == '|');
    }
}

static void print_values(const key *k) {
    switch (k->type) {
    case KEY_TEXT:
        printf("text");
        break;
    case KEY_PATH:
        printf("path");
        break;
    case KEY_WHOLE:
        if (k->choices)
            printf("`%s`, ", k->choices);
        printf("%.0f to %.0f", k->low, k->high);
        break;
    case KEY_REAL:
        printf("decimal, %g to %g", k->low, k->high);
        break;
    case KEY_SWITCH:
        print_words("true|false");
        break;
    case KEY_CHOICE:
        print_words(k->choices);
        break;
    case KEY_LIST:
        printf("list, %g to %g", k->low, k->high);
        break;
    case KEY_WHOLES:
        printf("list of whole numbers, %g to %g", k->low, k->high);
        break;
    }
}

static void print_key(const key *k) {
    printf("| `%s` | ", k->name);
    print_values(k);
    printf(" | ");
    if (k->initial[0])
        print_words(k->initial);
    printf(" | %s | ", k->results ? "yes" : "");
    print_cell(k->help);
    printf(" |\n");
}

int main(void) {
    const char *section = "";
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        if (strcmp(section, k->section))
            printf("\n### [%s]\n\n| key | values | default | results | meaning |\n|---|---|---|---|---|\n", k->section);
        section = k->section;
        print_key(k);
    }
    return 0;
}
