/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "piece.h"
#include "sdtrain/arena.h"
#include "words.h"

struct sd_tokenizer {
    sd_lexicon pieces; /* a key's number is the piece's id */
    int longest;       /* numbers of a key */
    bool lower_case;
    sd_special_tokens special;
};

/* ---- the vocabulary ---- */

bool sd_utf8_check(const char *text, size_t bytes, size_t *bad) {
    for (size_t at = 0; at < bytes;) {
        const utf8proc_uint8_t *next = (const utf8proc_uint8_t *)text + at;
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = *next < 0x80 ? 1 : utf8proc_iterate(next, (utf8proc_ssize_t)(bytes - at), &c);
        if (n <= 0) {
            if (bad)
                *bad = at;
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

/* numbers: room for `bytes` and one more. */
static sd_status add_line(sd_tokenizer *t, const char *line, size_t bytes, const char *file, uint32_t *numbers) {
    char text[SD_PRINTABLE_BYTES], shown[SD_PRINTABLE_BYTES];
    const int number = t->pieces.n + 1;
    size_t bad;
    int id;
    if (bytes == 0)
        return sd_fail(SD_ERR_DATA, "%s:%d: the line is empty; a word piece is expected on every line", file, number);
    if (!sd_utf8_check(line, bytes, &bad))
        return sd_fail(SD_ERR_DATA, "%s:%d: byte %zu of the line is no UTF-8", file, number, bad + 1);
    const int n = sd_piece_read(line, bytes, numbers);
    SD_TRY(sd_lexicon_add(&t->pieces, numbers, n, &id));
    if (t->pieces.key[id].count > 1) {
        snprintf(text, sizeof text, "%.*s", (int)(bytes < sizeof text ? bytes : sizeof text), line);
        return sd_fail(SD_ERR_DATA, "%s:%d: '%s' is in line %d already", file, number, sd_printable(text, shown),
                       id + 1);
    }
    if (t->longest < n)
        t->longest = n;
    return SD_OK;
}

static sd_status read_lines(sd_tokenizer *t, const char *vocab, size_t bytes, const char *file, uint32_t *numbers) {
    for (size_t begin = 0, end; begin < bytes; begin = end + 1) {
        const char *newline = memchr(vocab + begin, '\n', bytes - begin);
        end = newline ? (size_t)(newline - vocab) : bytes;
        const size_t line_bytes = end - begin - (end > begin && vocab[end - 1] == '\r');
        SD_TRY(add_line(t, vocab + begin, line_bytes, file, numbers));
    }
    return t->pieces.n > 0 ? SD_OK : sd_fail(SD_ERR_DATA, "%s:1: the vocabulary is empty", file);
}

static int32_t id_of(const sd_tokenizer *t, const char *special) {
    uint32_t numbers[SD_SPECIAL_CHARS];
    return sd_lexicon_find(&t->pieces, numbers, sd_piece_read(special, strlen(special), numbers));
}

static sd_status find_specials(sd_tokenizer *t, const char *file) {
    const char *const *name = sd_special_names;
    for (int i = 0; i < SD_SPECIALS - 1; i++)
        if (id_of(t, name[i]) < 0)
            return sd_fail(SD_ERR_DATA, "%s:%d: the vocabulary ends without %s, which BERT needs", file, t->pieces.n,
                           name[i]);
    t->special = (sd_special_tokens){.pad = id_of(t, name[0]),
                                     .unk = id_of(t, name[1]),
                                     .cls = id_of(t, name[2]),
                                     .sep = id_of(t, name[3]),
                                     .mask = id_of(t, name[4])};
    return SD_OK;
}

sd_status sd_tokenizer_create(const char *vocab, size_t bytes, const char *file, bool lower_case,
                              sd_tokenizer **tokenizer) {
    sd_status status;
    sd_tokenizer *t = NULL;
    uint32_t *numbers = NULL;
    SD_TRY_CLEANUP(sd_alloc(&t, 1, sizeof *t));
    SD_TRY_CLEANUP(sd_alloc(&numbers, bytes + 1, sizeof *numbers));
    t->lower_case = lower_case;
    SD_TRY_CLEANUP(read_lines(t, vocab, bytes, file, numbers));
    SD_TRY_CLEANUP(find_specials(t, file));

cleanup:
    free(numbers);
    if (status != SD_OK)
        sd_tokenizer_free(&t);
    *tokenizer = t;
    return status;
}

void sd_tokenizer_free(sd_tokenizer **tokenizer) {
    if (*tokenizer)
        sd_lexicon_free(&(*tokenizer)->pieces);
    free(*tokenizer);
    *tokenizer = NULL;
}

int sd_tokenizer_size(const sd_tokenizer *tokenizer) { return tokenizer->pieces.n; }

const sd_special_tokens *sd_tokenizer_special(const sd_tokenizer *tokenizer) { return &tokenizer->special; }

/* ---- texts ---- */

typedef struct output {
    int32_t *ids; /* [room] */
    size_t room;
    size_t n; /* so far; those beyond room are only counted */
} output;

static void put(output *out, int32_t id) {
    if (out->n < out->room)
        out->ids[out->n] = id;
    out->n++;
}

/* The longest piece that numbers, [n], begin with: returns how many it takes; 0: there is none. */
static int find_longest(const sd_tokenizer *t, const uint32_t *numbers, int n, int32_t *id) {
    uint64_t hash[SD_WORD_CHARS + 1] = {0}; /* of the first i numbers */
    if (n > t->longest)
        n = t->longest;
    for (int i = 0; i < n; i++)
        hash[i + 1] = sd_lexicon_hash(hash[i], numbers[i]);
    for (; n > 0; n--) {
        *id = sd_lexicon_find_hashed(&t->pieces, hash[n], numbers, n);
        if (*id >= 0)
            break;
    }
    return n;
}

/* Destroys the word's characters. */
static void put_word(const sd_tokenizer *t, sd_words *word, output *out) {
    const size_t before = out->n;
    int32_t id = 0;
    int taken = 0;
    if (word->n <= SD_WORD_CHARS)
        for (int at = 0; at < word->n; at += taken) {
            if (at > 0)
                word->chars[--at] = SD_PIECE_CONTINUES;
            taken = find_longest(t, word->chars + at, word->n - at, &id);
            if (taken == 0)
                break;
            put(out, id);
        }
    if (taken == 0) {
        out->n = before;
        put(out, t->special.unk);
    }
}

/* Where the first special token of a text begins; `bytes` if there is none. *token_bytes, *id: of it. */
static size_t find_special(const sd_tokenizer *t, const char *text, size_t bytes, size_t *token_bytes, int32_t *id) {
    const char *found;
    for (size_t at = 0; (found = memchr(text + at, '[', bytes - at)); at++) {
        at = (size_t)(found - text);
        for (int i = 0; i < SD_SPECIALS; i++) {
            *token_bytes = strlen(sd_special_names[i]);
            if (*token_bytes <= bytes - at && !memcmp(found, sd_special_names[i], *token_bytes)) {
                *id = id_of(t, sd_special_names[i]);
                if (*id >= 0)
                    return at;
            }
        }
    }
    return bytes;
}

/* Stops when `enough` ids are out. */
static void tokenize(const sd_tokenizer *t, const char *text, size_t bytes, size_t enough, output *out) {
    sd_words words;
    for (size_t begin = 0; begin < bytes && out->n < enough;) {
        size_t token_bytes = 0;
        int32_t id = 0;
        const size_t n = find_special(t, text + begin, bytes - begin, &token_bytes, &id);
        sd_words_begin(&words, text + begin, n, t->lower_case);
        while (out->n < enough && sd_words_next(&words))
            put_word(t, &words, out);
        begin += n;
        if (begin < bytes) {
            put(out, id);
            begin += token_bytes;
        }
    }
}

size_t sd_tokenize(const sd_tokenizer *tokenizer, const char *text, size_t bytes, int32_t *ids, size_t room) {
    output out = {.ids = ids, .room = room};
    tokenize(tokenizer, text, bytes, room, &out);
    return out.n < room ? out.n : room;
}

/* ---- samples ---- */

/* Cuts two lengths to a sum of at most `room`. */
static void cut_longest_first(size_t room, size_t *a, size_t *b) {
    size_t *shorter = *a > *b ? b : a, *longer = *a > *b ? a : b;
    if (*a + *b <= room)
        return;
    if (*shorter > room / 2)
        *shorter = room / 2;
    *longer = room - *shorter;
}

/* Puts both texts, and a [SEP] between them, at ids; returns how many ids they are. */
static size_t put_pair(const sd_tokenizer *t, const char *a, size_t a_bytes, const char *b, size_t b_bytes, size_t room,
                       int32_t *ids, size_t *second) {
    /* both to their ends, as it matters which is the longer one */
    output first = {.ids = ids, .room = room}, count = {0};
    tokenize(t, a, a_bytes, SIZE_MAX, &first);
    tokenize(t, b, b_bytes, SIZE_MAX, &count);
    size_t n_a = first.n, n_b = count.n;
    cut_longest_first(room, &n_a, &n_b);
    ids[n_a] = t->special.sep;
    *second = n_a + 1;
    return n_a + 1 + sd_tokenize(t, b, b_bytes, ids + n_a + 1, n_b);
}

sd_status sd_tokenize_sample(const sd_tokenizer *tokenizer, const char *a, size_t a_bytes, const char *b,
                             size_t b_bytes, int sequence, int32_t *ids, int32_t *length, int32_t *second) {
    const sd_special_tokens *special = &tokenizer->special;
    const int specials = b ? 3 : 2;
    if (sequence < specials)
        return sd_fail(SD_ERR_CONFIG, "a sequence of %d has no room for a text: [CLS] and [SEP] take %d", sequence,
                       specials);
    const size_t room = (size_t)(sequence - specials);
    size_t n = 1, pair = 0;
    ids[0] = special->cls;
    n += b ? put_pair(tokenizer, a, a_bytes, b, b_bytes, room, ids + 1, &pair)
           : sd_tokenize(tokenizer, a, a_bytes, ids + 1, room);
    ids[n++] = special->sep;
    *length = (int32_t)n;
    *second = b ? (int32_t)pair + 1 : *length;
    while (n < (size_t)sequence)
        ids[n++] = special->pad;
    return SD_OK;
}
