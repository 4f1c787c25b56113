/* SPDX-License-Identifier: Apache-2.0 */
#include "piece.h"

#include <string.h>
#include <utf8proc.h>

const char *const sd_special_names[SD_SPECIALS] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

static const char prefix[] = "##";
enum { PREFIX_BYTES = sizeof prefix - 1 };

int sd_piece_read(const char *text, size_t bytes, uint32_t *numbers) {
    int n = 0;
    size_t at = 0;
    if (bytes > PREFIX_BYTES && !memcmp(text, prefix, PREFIX_BYTES)) {
        numbers[n++] = SD_PIECE_CONTINUES;
        at = PREFIX_BYTES;
    }
    while (at < bytes) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t taken =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
        numbers[n++] = (uint32_t)c;
        at += (size_t)taken;
    }
    return n;
}

size_t sd_piece_write(const uint32_t *numbers, int n, char *text) {
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        if (numbers[i] == SD_PIECE_CONTINUES) {
            memcpy(text + bytes, prefix, PREFIX_BYTES);
            bytes += PREFIX_BYTES;
        } else {
            bytes += (size_t)utf8proc_encode_char((utf8proc_int32_t)numbers[i], (utf8proc_uint8_t *)text + bytes);
        }
    return bytes;
}
