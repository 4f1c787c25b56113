/* SPDX-License-Identifier: Apache-2.0 */
#include "shown.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character that text begins with, as UTF-8 defines it (Unicode 15, table 3-7); 0: it is none. *code: its
 * code point. */
static int character_at(const char *text, uint32_t *code) {
    const unsigned char *byte = (const unsigned char *)text;
    const int n = byte[0] < 0x80   ? 1
                  : byte[0] < 0xc2 ? 0
                  : byte[0] < 0xe0 ? 2
                  : byte[0] < 0xf0 ? 3
                  : byte[0] < 0xf5 ? 4
                                   : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (n == 0)
        return 0;
    *code = n == 1 ? byte[0] : byte[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) { /* stops at the zero behind the text */
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (byte[i] & 0x3f);
    }
    const int is_surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[n] || *code > 0x10ffff || is_surrogate ? 0 : n;
}

/* Without control characters, C1 among them. */
static int printable_at(const char *text) {
    uint32_t code;
    const int n = character_at(text, &code);
    return n > 0 && (code < ' ' || (code >= 0x7f && code < 0xa0)) ? -n : n;
}

int sd_shown_width(const char *text) {
    int width = 0;
    for (; *text; width++) {
        const int n = printable_at(text);
        text += n > 0 ? n : n < 0 ? -n : 1;
    }
    return width;
}

void sd_show_plain(const char *text, int width) {
    for (; *text; width--) {
        const int n = printable_at(text);
        if (n > 0)
            fwrite(text, 1, (size_t)n, stdout);
        else
            putchar('?');
        text += n > 0 ? n : n < 0 ? -n : 1;
    }
    for (; width > 0; width--)
        putchar(' ');
}

void sd_show_csv(const char *text) {
    if (!strpbrk(text, "\",\r\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

void sd_show_json(const char *text) {
    putchar('"');
    while (*text) {
        uint32_t code = 0;
        const int n = character_at(text, &code);
        if (n == 0)
            fputs("\\ufffd", stdout);
        else if (code == '"' || code == '\\')
            printf("\\%c", *text);
        else if (code < ' ' || code == 0x7f)
            printf("\\u%04x", (unsigned)code);
        else
            fwrite(text, 1, (size_t)n, stdout);
        text += n > 0 ? n : 1;
    }
    putchar('"');
}

const char *sd_reason_of(const char *message, const char *path) {
    const char *reason = message;
    for (; *path; path++, reason++) /* sd_fail() replaces control characters */
        if (*reason != (iscntrl((unsigned char)*path) ? '?' : *path))
            return message;
    return !strncmp(reason, ": ", 2) ? reason + 2 : message;
}
