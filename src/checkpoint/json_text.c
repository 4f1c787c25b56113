/* SPDX-License-Identifier: Apache-2.0 */
#include "json_text.h"

#include <stdio.h>
#include <string.h>

/* ---- messages ---- */

sd_status sd_json_refuse(const sd_json *json, size_t at, const char *what) {
    char name[SD_PRINTABLE_BYTES];
    const char *tensor = json->tensor ? sd_printable(json->tensor, name) : "";
    return sd_fail(SD_ERR_DATA, "%s: %s%s%sbyte %zu: %s", json->path, json->tensor ? "tensor '" : "", tensor,
                   json->tensor ? "', " : "", json->first_byte + at, what);
}

static sd_status refuse_found(const sd_json *json, const char *expected) {
    char what[128], found[32];
    if (json->at >= json->n)
        snprintf(found, sizeof found, "the header ends");
    else if (json->text[json->at] >= ' ' && json->text[json->at] <= '~')
        snprintf(found, sizeof found, "there is '%c'", json->text[json->at]);
    else
        snprintf(found, sizeof found, "there is byte 0x%02x", (unsigned char)json->text[json->at]);
    snprintf(what, sizeof what, "%s, where %s is expected", found, expected);
    return sd_json_refuse(json, json->at, what);
}

/* ---- punctuation ---- */

static bool stands(const sd_json *json, char c) { return json->at < json->n && json->text[json->at] == c; }

static void skip_space(sd_json *json) {
    while (stands(json, ' ') || stands(json, '\t') || stands(json, '\n') || stands(json, '\r'))
        json->at++;
}

static bool take_if(sd_json *json, char punctuation) {
    skip_space(json);
    if (!stands(json, punctuation))
        return false;
    json->at++;
    return true;
}

sd_status sd_json_take(sd_json *json, char punctuation) {
    const char expected[] = {'\'', punctuation, '\'', '\0'};
    return take_if(json, punctuation) ? SD_OK : refuse_found(json, expected);
}

sd_status sd_json_more(sd_json *json, char closing, bool first, bool *more) {
    const char expected[] = {'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', closing, '\'', '\0'};
    *more = !take_if(json, closing);
    return !*more || first || take_if(json, ',') ? SD_OK : refuse_found(json, expected);
}

sd_status sd_json_end(sd_json *json) {
    skip_space(json);
    return json->at == json->n ? SD_OK : refuse_found(json, "the end of the header");
}

/* ---- numbers ---- */

static bool is_digit(const sd_json *json) {
    return json->at < json->n && json->text[json->at] >= '0' && json->text[json->at] <= '9';
}

sd_status sd_json_natural(sd_json *json, uint64_t *number) {
    skip_space(json);
    const size_t begin = json->at;
    *number = 0;
    if (!is_digit(json))
        return refuse_found(json, "a whole number, 0 or more,");
    for (; is_digit(json); json->at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, json->text[json->at] - '0', number))
            return sd_json_refuse(json, begin, "a number beyond 64 bits");
    if (json->text[begin] == '0' && json->at > begin + 1)
        return sd_json_refuse(json, begin, "a number that begins with 0");
    if (stands(json, '.') || stands(json, 'e') || stands(json, 'E'))
        return refuse_found(json, "a whole number");
    return SD_OK;
}

/* ---- strings ---- */

/* Four hexadecimal digits. */
static sd_status take_code_unit(sd_json *json, uint32_t *unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++, json->at++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = json->at < json->n && json->text[json->at] ? strchr(digits, json->text[json->at]) : NULL;
        if (!digit)
            return refuse_found(json, "a hexadecimal digit");
        const uint32_t value = (uint32_t)(digit - digits);
        *unit = *unit << 4 | (value < 16 ? value : value - 6);
    }
    return SD_OK;
}

/* What follows \u: a character, or the two halves of one beyond 16 bits. */
static sd_status take_code_point(sd_json *json, uint32_t *point) {
    const size_t begin = json->at - 2;
    uint32_t low;
    SD_TRY(take_code_unit(json, point));
    if (*point == 0)
        return sd_json_refuse(json, begin, "a string with a zero character");
    if (*point < 0xd800 || *point > 0xdfff)
        return SD_OK;
    if (*point > 0xdbff || !stands(json, '\\') || json->at + 1 >= json->n || json->text[json->at + 1] != 'u')
        return sd_json_refuse(json, begin, "half a surrogate pair");
    json->at += 2;
    SD_TRY(take_code_unit(json, &low));
    if (low < 0xdc00 || low > 0xdfff)
        return sd_json_refuse(json, begin, "half a surrogate pair");
    *point = 0x10000 + ((*point - 0xd800) << 10) + (low - 0xdc00);
    return SD_OK;
}

static char *put_utf8(char *to, uint32_t point) {
    const int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(lead[more] | point >> 6 * more);
    for (int i = more - 1; i >= 0; i--)
        *to++ = (char)(0x80 | (point >> 6 * i & 0x3f));
    return to;
}

/* Behind a backslash. What it stands for is never longer than it is itself. */
static sd_status take_escape(sd_json *json, char **to) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (stands(json, 'u')) {
        uint32_t point;
        json->at++;
        SD_TRY(take_code_point(json, &point));
        *to = put_utf8(*to, point);
        return SD_OK;
    }
    const char *letter = json->at < json->n && json->text[json->at] ? strchr(letters, json->text[json->at]) : NULL;
    if (!letter)
        return refuse_found(json, "an escape of JSON");
    *(*to)++ = meanings[letter - letters];
    json->at++;
    return SD_OK;
}

sd_status sd_json_string(sd_json *json, char **string) {
    SD_TRY(sd_json_take(json, '"'));
    char *to = *string = json->text + json->at;
    while (!stands(json, '"')) {
        if (json->at >= json->n || (unsigned char)json->text[json->at] < ' ')
            return refuse_found(json, "the rest of a string");
        const char c = json->text[json->at++];
        if (c == '\\')
            SD_TRY(take_escape(json, &to));
        else
            *to++ = c;
    }
    json->at++;
    *to = '\0'; /* at the closing quote, or before */
    return SD_OK;
}

/* ---- UTF-8 ---- */

/* Length of the sequence that begins here; 0: none. */
static size_t sequence_bytes(const unsigned char *s, size_t n) {
    if (s[0] < 0x80)
        return 1;
    const size_t bytes = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (bytes == 0 || bytes > n)
        return 0;
    /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
    const unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return bytes;
}

size_t sd_utf8_valid_bytes(const char *text, size_t n) {
    size_t at = 0;
    while (at < n) {
        const size_t bytes = sequence_bytes((const unsigned char *)text + at, n - at);
        if (bytes == 0)
            break;
        at += bytes;
    }
    return at;
}
