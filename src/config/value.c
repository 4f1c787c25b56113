/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of one value: text -> member of sd_config, and back. Printed values parse to the same value. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

_Static_assert(sizeof(sd_drop_scope) == sizeof(int), "a choice is written as an int");

static const char BLANKS[] = " \t\r\n\v\f";

/* ---- reading ---- */

static bool ends(const char *text) { return text[strspn(text, BLANKS)] == '\0'; }

/* Digits only, up to what a double represents exactly; not "0x10", "1e1". */
static bool read_whole(const char *text, const key *k, int64_t *value) {
    char *end;
    const char *digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits))
        return false;
    const long long number = strtoll(text, &end, 10); /* saturates */
    *value = number;
    return ends(end) && number >= (int64_t)k->low && number <= (int64_t)k->high;
}

/* A decimal number, optionally with an exponent. -0 becomes 0; a number that underflows to 0 is refused. */
static bool read_real(const char *text, const key *k, double *value) {
    char *end;
    const size_t bytes = strspn(text, "+-.0123456789eE");
    const double number = strtod(text, &end);
    if (bytes == 0 || end != text + bytes || !ends(end))
        return false;
    const bool not_zero = isdigit((unsigned char)text[strcspn(text, "123456789eE")]);
    *value = number == 0 ? 0 : number;
    return isfinite(number) && number >= k->low && number <= k->high && (number != 0 || !not_zero);
}

static bool read_item(const char *text, const key *k, double *value) {
    int64_t whole;
    if (k->type == KEY_LIST)
        return read_real(text, k, value);
    if (!read_whole(text, k, &whole))
        return false;
    *value = (double)whole;
    return true;
}

/* Appends entries. A comma may end the text (the list continues on the next line); other empty entries are refused. */
static bool read_list(const char *text, const key *k, sd_list *list) {
    char item[256];
    for (text += strspn(text, BLANKS); *text; text += strspn(text, BLANKS)) {
        const size_t bytes = strcspn(text, ",");
        if (bytes >= sizeof item || list->n == SD_LIST_MAX)
            return false;
        snprintf(item, sizeof item, "%.*s", (int)bytes, text);
        if (!read_item(item, k, &list->value[list->n]))
            return false;
        list->n++;
        text += bytes + (text[bytes] == ',');
    }
    return true;
}

/* Whether a text parses to itself as a line of a file, where " ;" begins a comment. */
static bool fits_a_line(const char *text) {
    size_t bytes = strlen(text);
    if (bytes >= SD_CONFIG_TEXT || text[0] == ';' || isspace((unsigned char)text[0]) ||
        (bytes > 0 && isspace((unsigned char)text[bytes - 1])))
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (iscntrl((unsigned char)text[i]) || (isspace((unsigned char)text[i]) && text[i + 1] == ';'))
            return false;
    return true;
}

bool sd_key_read(const key *k, sd_config *config, const char *text) {
    void *value = sd_key_value(k, config);
    switch (k->type) {
    case KEY_TEXT:
    case KEY_PATH:
        if (!fits_a_line(text))
            return false;
        strcpy(value, text);
        return true;
    case KEY_WHOLE:
        if (k->choices && !strcmp(text, k->choices)) {
            *(int64_t *)value = 0;
            return true;
        }
        return read_whole(text, k, value);
    case KEY_REAL:
        return read_real(text, k, value);
    case KEY_SWITCH:
        *(bool *)value = !strcmp(text, "true");
        return !strcmp(text, "true") || !strcmp(text, "false");
    case KEY_CHOICE: {
        int choice = sd_choice_find(k->choices, text);
        if (choice >= 0)
            memcpy(value, &choice, sizeof choice); /* the member has an enumeration type */
        return choice >= 0;
    }
    case KEY_LIST:
    case KEY_WHOLES:
        return read_list(text, k, value);
    }
    return false;
}

void sd_key_allowed(const key *k, char *text, size_t text_bytes) {
    switch (k->type) {
    case KEY_TEXT:
    case KEY_PATH:
        snprintf(text, text_bytes,
                 "text of at most %d bytes that a line can hold: no line break, no ' ;', no space at its ends",
                 SD_CONFIG_TEXT - 1);
        break;
    case KEY_WHOLE:
        snprintf(text, text_bytes, "%s%sa whole number from %.0f to %.0f, in digits", k->choices ? k->choices : "",
                 k->choices ? " or " : "", k->low, k->high);
        break;
    case KEY_REAL:
        snprintf(text, text_bytes, "a decimal number from %g to %g", k->low, k->high);
        break;
    case KEY_SWITCH:
        snprintf(text, text_bytes, "true or false");
        break;
    case KEY_CHOICE:
        snprintf(text, text_bytes, "%s", k->choices);
        for (char *bar = text; (bar = strchr(bar, '|'));)
            *bar = ' ';
        break;
    case KEY_LIST:
    case KEY_WHOLES:
        snprintf(text, text_bytes, "%s numbers from %g to %g, a comma between two, at most %d",
                 k->type == KEY_LIST ? "decimal" : "whole", k->low, k->high, SD_LIST_MAX);
        break;
    }
}

/* ---- printing ---- */

/* Significant digits of the shortest decimal that parses to the same double. */
static int digits_of(double value) {
    char text[32];
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return digits;
}

static void print_real(double value, char *text, size_t text_bytes) {
    snprintf(text, text_bytes, "%.*g", digits_of(value), value);
}

void sd_key_print(const key *k, const sd_config *config, char *text, size_t text_bytes) {
    const void *value = sd_key_value(k, config);
    switch (k->type) {
    case KEY_TEXT:
    case KEY_PATH:
        snprintf(text, text_bytes, "%s", (const char *)value);
        break;
    case KEY_WHOLE:
        if (k->choices && *(const int64_t *)value == 0)
            snprintf(text, text_bytes, "%s", k->choices);
        else
            snprintf(text, text_bytes, "%lld", (long long)*(const int64_t *)value);
        break;
    case KEY_REAL:
        print_real(*(const double *)value, text, text_bytes);
        break;
    case KEY_SWITCH:
        snprintf(text, text_bytes, "%s", *(const bool *)value ? "true" : "false");
        break;
    case KEY_CHOICE: {
        int choice;
        memcpy(&choice, value, sizeof choice);
        sd_choice_name(k->choices, choice, text, text_bytes);
        break;
    }
    case KEY_LIST:
    case KEY_WHOLES: {
        const sd_list *list = value;
        size_t used = 0, line = 0;
        text[0] = '\0';
        for (int i = 0; i < list->n && used + 40 < text_bytes; i++) {
            char number[32];
            print_real(list->value[i], number, sizeof number);
            const char *joint = i == 0       ? ""
                                : line > 100 ? ",\n    "
                                             : ", "; /* a long list continues on an indented line */
            int written = snprintf(text + used, text_bytes - used, "%s%s", joint, number);
            line = joint[0] == ',' && joint[1] == '\n' ? strlen(number) : line + (size_t)written;
            used += (size_t)written;
        }
        break;
    }
    }
}
