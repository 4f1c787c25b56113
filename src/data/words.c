/* SPDX-License-Identifier: Apache-2.0 */
#include "words.h"

#include <utf8proc.h>

void sd_words_begin(sd_words *words, const char *text, size_t bytes, bool lower_case) {
    words->text = text;
    words->bytes = bytes;
    words->at = 0;
    words->lower_case = lower_case;
    words->n_folded = words->next_folded = 0;
}

/* As in tokenizers, whose sixth block begins at U+2B920 where Unicode's begins at U+2B820. */
static bool is_ideograph(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_punctuation(uint32_t c) {
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

static void fold_ascii(sd_words *words, uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r')
        c = ' ';
    if (words->lower_case && c >= 'A' && c <= 'Z')
        c += 'a' - 'A';
    if (c >= ' ' && c < 0x7f)
        words->folded[words->n_folded++] = c;
}

static void fold_letter(sd_words *words, uint32_t c) {
    enum { MOST_PARTS = 4 }; /* of a canonical decomposition */
    utf8proc_int32_t part[MOST_PARTS] = {(utf8proc_int32_t)c};
    int n = 1, border = 0;
    if (words->lower_case)
        n = (int)utf8proc_decompose_char(part[0], part, MOST_PARTS, UTF8PROC_DECOMPOSE, &border);
    for (int i = 0; i < n && i < MOST_PARTS; i++)
        words->folded[words->n_folded++] = (uint32_t)(words->lower_case ? utf8proc_tolower(part[i]) : part[i]);
}

static void fold(sd_words *words, uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        return;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        words->folded[words->n_folded++] = ' ';
        return;
    default:
        break;
    }
    if (c == 0xfffd)
        return;
    const bool alone = is_ideograph(c);
    if (alone)
        words->folded[words->n_folded++] = ' ';
    fold_letter(words, c);
    if (alone)
        words->folded[words->n_folded++] = ' ';
}

/* Folds the next characters until one is not dropped; false: the text ends. */
static bool read_folded(sd_words *words) {
    words->n_folded = words->next_folded = 0;
    while (words->n_folded == 0 && words->at < words->bytes) {
        const utf8proc_uint8_t *next = (const utf8proc_uint8_t *)words->text + words->at;
        if (*next < 0x80) {
            fold_ascii(words, *next);
            words->at++;
            continue;
        }
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate(next, (utf8proc_ssize_t)(words->bytes - words->at), &c);
        if (n > 0)
            fold(words, (uint32_t)c);
        words->at += n > 0 ? (size_t)n : 1;
    }
    return words->n_folded > 0;
}

static int combining_class(uint32_t c) {
    return c < 0x80 ? 0 : utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

/* NFD has the marks behind a base character in the order of their classes; whichever of them are kept. */
static void append(sd_words *words, uint32_t c) {
    const int class = words->lower_case ? combining_class(c) : 0;
    const bool dropped =
        words->lower_case && c >= 0x80 && utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN;
    if (!dropped && words->n < SD_WORD_CHARS) {
        int at = words->n++;
        for (; class > 0 && at > words->reorderable && combining_class(words->chars[at - 1]) > class; at--)
            words->chars[at] = words->chars[at - 1];
        words->chars[at] = c;
    } else if (!dropped) {
        words->n = SD_WORD_CHARS + 1;
    }
    if (class == 0)
        words->reorderable = words->n;
}

bool sd_words_next(sd_words *words) {
    words->n = words->reorderable = 0;
    while (words->next_folded < words->n_folded || read_folded(words)) {
        const uint32_t c = words->folded[words->next_folded];
        if (is_punctuation(c)) {
            if (words->n > 0)
                return true;
            words->next_folded++;
            words->chars[words->n++] = c;
            return true;
        }
        words->next_folded++;
        if (c != ' ')
            append(words, c);
        else if (words->n > 0)
            return true;
    }
    return words->n > 0;
}
