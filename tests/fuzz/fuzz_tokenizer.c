/* SPDX-License-Identifier: Apache-2.0 */
/* Vocabularies and texts: a vocabulary is refused, or gives ids within it, the first ones of more where there is less
 * room, and samples of them; one that is made of the text is a vocabulary.
 *
 *     input: a byte (bit 0: lower case; bits 1..: the room), vocab.txt, a zero, a text */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "sdtrain/tokenizer.h"
#include "sdtrain/vocabulary.h"

enum { MOST_ROOM = 127 };

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const char *const vocabs[] = {
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nab\n##a\n##b\n##ab\nword\n##s\n!\n",
        "[UNK]\r\n[CLS]\r\n[SEP]\r\n[PAD]\r\ne\r\n\xce\xb1\r\n##\xcf\x83\r\n\xe6\x9d\xb1\r\n\xe1\x84\x80\r\n##\xe1\x85\xa1",
        "[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n", ""};
    static const char *const texts[] = {
        "abab word words, a!b [MASK] [SEP] [CLS",
        "\xc3\x89\xce\x91\xce\xa3 \xe6\x9d\xb1\xea\xb0\x80 e\xcc\x81 \xc2\xa0\xe2\x80\x8b \xf0\x9f\x98\x80\xef\xb8\x8f \xff",
        "ab ab ab abc abc xc \xe3\x80\xae\xf0\x9d\x85\xa5"};
    enum { VOCABS = sizeof vocabs / sizeof *vocabs, TEXTS = sizeof texts / sizeof *texts };
    if (i >= VOCABS * TEXTS)
        return false;
    const size_t vocab_bytes = strlen(vocabs[i % VOCABS]), text_bytes = strlen(texts[i / VOCABS]);
    *n = 1 + vocab_bytes + 1 + text_bytes;
    *bytes = malloc(*n);
    (*bytes)[0] = (uint8_t)(2 * 16 + i % 2);
    memcpy(*bytes + 1, vocabs[i % VOCABS], vocab_bytes);
    (*bytes)[1 + vocab_bytes] = 0;
    memcpy(*bytes + 2 + vocab_bytes, texts[i / VOCABS], text_bytes);
    return true;
}

/* A copy of exactly its own size, so that a sanitizer sees what reads beyond it. */
static char *copy_of(const char *text, size_t bytes) {
    char *copy = malloc(bytes);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    return copy;
}

static void require_sample(const sd_tokenizer *t, const char *text, size_t bytes, const int32_t *ids, size_t n,
                           size_t room) {
    const sd_special_tokens *special = sd_tokenizer_special(t);
    const int sequence = (int)room + 2;
    int32_t sample[MOST_ROOM + 2], length, second;
    fuzz_require(sd_tokenize_sample(t, text, bytes, NULL, 0, sequence, sample, &length, &second) == SD_OK, "%s",
                 sd_error_message());
    fuzz_require((size_t)length == n + 2 && second == length, "%zu ids, length %d, second %d", n, length, second);
    fuzz_require(sample[0] == special->cls && sample[n + 1] == special->sep, "no [CLS] or [SEP]");
    fuzz_require(!memcmp(sample + 1, ids, n * sizeof *ids), "a sample has other ids than its text");
    for (int i = length; i < sequence; i++)
        fuzz_require(sample[i] == special->pad, "padded with %d", sample[i]);
}

static void require_pair(const sd_tokenizer *t, const char *a, size_t a_bytes, const char *b, size_t b_bytes,
                         size_t room) {
    const sd_special_tokens *special = sd_tokenizer_special(t);
    const int sequence = (int)room + 3;
    int32_t sample[MOST_ROOM + 3], length, second;
    fuzz_require(sd_tokenize_sample(t, a, a_bytes, b, b_bytes, sequence, sample, &length, &second) == SD_OK, "%s",
                 sd_error_message());
    fuzz_require(second >= 2 && second < length && length <= sequence, "%d, %d of %d", second, length, sequence);
    fuzz_require(sample[second - 1] == special->sep && sample[length - 1] == special->sep, "no [SEP]");
    int32_t ids[MOST_ROOM];
    const size_t n_a = (size_t)second - 2, n_b = (size_t)(length - second - 1);
    fuzz_require(sd_tokenize(t, a, a_bytes, ids, n_a) == n_a && !memcmp(ids, sample + 1, n_a * sizeof *ids), "of a");
    fuzz_require(sd_tokenize(t, b, b_bytes, ids, n_b) == n_b && !memcmp(ids, sample + second, n_b * sizeof *ids),
                 "of b");
}

static void require_texts(const sd_tokenizer *t, const char *text, size_t bytes, size_t room) {
    int32_t *all = malloc((bytes + 1) * sizeof *all), *some = malloc((room + 1) * sizeof *some);
    const size_t n_all = sd_tokenize(t, text, bytes, all, bytes + 1), n = sd_tokenize(t, text, bytes, some, room);
    fuzz_require(n_all <= bytes, "%zu ids of %zu bytes", n_all, bytes); /* Hangul has three in three */
    fuzz_require(n == (n_all < room ? n_all : room), "%zu ids, of %zu in a room of %zu", n, n_all, room);
    for (size_t i = 0; i < n_all; i++)
        fuzz_require(all[i] >= 0 && all[i] < sd_tokenizer_size(t), "id %d", all[i]);
    fuzz_require(!memcmp(all, some, n * sizeof *all), "with less room the ids are others");
    require_sample(t, text, bytes, some, n, room);
    require_pair(t, text, bytes, text, bytes / 2, room);
    require_pair(t, text, bytes / 3, text, bytes, room);
    free(all);
    free(some);
}

static void require_vocabulary(const char *text, size_t bytes, bool lower_case, int size) {
    sd_vocabulary *vocabulary;
    char *made;
    int n;
    fuzz_require(sd_vocabulary_create(lower_case, &vocabulary) == SD_OK &&
                     sd_vocabulary_add(vocabulary, text, bytes) == SD_OK,
                 "%s", sd_error_message());
    const sd_status status = sd_vocabulary_make(vocabulary, size, 1 + size / 4, &made, &n);
    fuzz_require(status == SD_OK || status == SD_ERR_DATA || status == SD_ERR_CONFIG, "%s", sd_error_message());
    fuzz_require((status == SD_OK) == (made != NULL), "a vocabulary at status %d", (int)status);
    sd_vocabulary_free(&vocabulary);
    if (status != SD_OK)
        return;
    sd_tokenizer *t;
    fuzz_require(sd_tokenizer_create(made, strlen(made), "made", lower_case, &t) == SD_OK, "%s", sd_error_message());
    fuzz_require(sd_tokenizer_size(t) == n && n <= size, "%d pieces, %d lines", n, sd_tokenizer_size(t));
    sd_tokenizer_free(&t);
    free(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n == 0)
        return 0;
    const char *begin = (const char *)bytes + 1;
    const size_t vocab_bytes = strnlen(begin, n - 1), used = vocab_bytes < n - 1 ? vocab_bytes + 1 : vocab_bytes;
    const size_t text_bytes = n - 1 - used, room = bytes[0] >> 1;
    const bool lower_case = bytes[0] & 1;
    char *vocab = copy_of(begin, vocab_bytes), *text = copy_of(begin + used, text_bytes);
    sd_tokenizer *t;
    sd_error_clear();
    const sd_status status = sd_tokenizer_create(vocab, vocab_bytes, "vocab.txt", lower_case, &t);
    free(vocab);
    fuzz_require(status == SD_OK || status == SD_ERR_DATA, "status %d", (int)status);
    fuzz_require((status == SD_OK) == (t != NULL), "a tokenizer, and status %d", (int)status);
    if (t)
        require_texts(t, text, text_bytes, room);
    else
        fuzz_require(strstr(sd_error_message(), "vocab.txt:"), "no file and line: %s", sd_error_message());
    sd_tokenizer_free(&t);
    require_vocabulary(text, text_bytes, lower_case, 5 + (int)room * 4);
    free(text);
    return 0;
}
