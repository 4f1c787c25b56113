/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/vocabulary.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "merges.h"
#include "piece.h"
#include "sdtrain/arena.h"
#include "words.h"

enum { CHARACTERS = 0x110000, LEAST_COUNT = 2 /* of a pair that is merged; Hugging Face's min_frequency */ };

struct sd_vocabulary {
    sd_lexicon words;
    uint64_t n_words;
    bool lower_case;
};

sd_status sd_vocabulary_create(bool lower_case, sd_vocabulary **vocabulary) {
    SD_TRY(sd_alloc(vocabulary, 1, sizeof **vocabulary));
    (*vocabulary)->lower_case = lower_case;
    return SD_OK;
}

void sd_vocabulary_free(sd_vocabulary **vocabulary) {
    if (*vocabulary)
        sd_lexicon_free(&(*vocabulary)->words);
    free(*vocabulary);
    *vocabulary = NULL;
}

sd_status sd_vocabulary_add(sd_vocabulary *vocabulary, const char *text, size_t bytes) {
    sd_words words;
    int key;
    sd_words_begin(&words, text, bytes, vocabulary->lower_case);
    while (sd_words_next(&words))
        if (words.n <= SD_WORD_CHARS) {
            SD_TRY(sd_lexicon_add(&vocabulary->words, words.chars, words.n, &key));
            vocabulary->n_words++;
        }
    return SD_OK;
}

uint64_t sd_vocabulary_words(const sd_vocabulary *vocabulary) { return vocabulary->n_words; }

int sd_vocabulary_different_words(const sd_vocabulary *vocabulary) { return vocabulary->words.n; }

/* ---- characters ---- */

typedef struct character {
    uint32_t code;
    uint64_t count;
    bool kept, continues;   /* continues: it does so with a word somewhere */
    uint32_t whole, behind; /* the pieces that it is: at the begin of a word, behind it */
} character;

typedef struct maker {
    const sd_lexicon *words;
    int32_t *index; /* [CHARACTERS] by code: 1 + the character's place; 0: it is in no word */
    int n, capacity;
    character *character;
    sd_lexicon pieces; /* a key's number is the piece */
    sd_merges merges;
    uint32_t *memory; /* of the words' pieces */
} maker;

static int by_code(const void *a, const void *b) {
    const character *x = a, *y = b;
    return (x->code > y->code) - (x->code < y->code);
}

static int by_count(const void *a, const void *b) {
    const character *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : by_code(a, b);
}

static sd_status count_characters(maker *m) {
    for (int w = 0; w < m->words->n; w++) {
        const uint32_t *chars = sd_lexicon_numbers(m->words, w);
        for (int i = 0; i < m->words->key[w].n; i++) {
            int32_t *index = &m->index[chars[i]];
            if (*index == 0) {
                SD_TRY(sd_grow(&m->character, m->n, &m->capacity, sizeof *m->character));
                m->character[m->n++] = (character){.code = chars[i]};
                *index = m->n;
            }
            m->character[*index - 1].count += m->words->key[w].count;
            m->character[*index - 1].continues |= i > 0;
        }
    }
    return SD_OK;
}

/* Characters end up in the order of their codes. */
static void choose_alphabet(maker *m, int most) {
    qsort(m->character, (size_t)m->n, sizeof *m->character, by_count);
    for (int i = 0; i < m->n && i < most; i++)
        m->character[i].kept = true;
    qsort(m->character, (size_t)m->n, sizeof *m->character, by_code);
    for (int i = 0; i < m->n; i++)
        m->index[m->character[i].code] = i + 1;
}

static sd_status add_piece(maker *m, const uint32_t *numbers, int n, uint32_t *piece) {
    int key;
    SD_TRY(sd_lexicon_add(&m->pieces, numbers, n, &key));
    *piece = (uint32_t)key;
    return SD_OK;
}

static sd_status add_first_pieces(maker *m) {
    uint32_t special;
    for (int i = 0; i < SD_SPECIALS; i++) {
        uint32_t numbers[SD_SPECIAL_CHARS];
        const int n = sd_piece_read(sd_special_names[i], strlen(sd_special_names[i]), numbers);
        SD_TRY(add_piece(m, numbers, n, &special));
    }
    for (character *c = m->character; c < m->character + m->n; c++)
        if (c->kept)
            SD_TRY(add_piece(m, &c->code, 1, &c->whole));
    for (character *c = m->character; c < m->character + m->n; c++)
        if (c->kept && c->continues)
            SD_TRY(add_piece(m, (uint32_t[]){SD_PIECE_CONTINUES, c->code}, 2, &c->behind));
    return SD_OK;
}

/* ---- merging ---- */

static sd_status add_words(maker *m) {
    if (m->words->n_numbers > INT_MAX / 8)
        return sd_fail(SD_ERR_MEMORY, "%zu characters of different words are too many for a vocabulary",
                       m->words->n_numbers);
    SD_TRY(sd_alloc(&m->memory, m->words->n_numbers, sizeof *m->memory));
    for (int w = 0; w < m->words->n; w++) {
        const sd_lexicon_key *key = &m->words->key[w];
        uint32_t *pieces = m->memory + key->begin;
        int n = 0;
        for (int i = 0; i < key->n; i++) {
            const character *c = &m->character[m->index[m->words->numbers[key->begin + (size_t)i]] - 1];
            if (c->kept)
                pieces[n++] = i == 0 ? c->whole : c->behind;
        }
        SD_TRY(sd_merges_add_word(&m->merges, pieces, n, key->count));
    }
    return SD_OK;
}

/* The piece that a pair makes: the left one, and the right one without its "##". It may be there already. */
static sd_status join(maker *m, int pair, uint32_t *numbers, uint32_t *piece) {
    const uint32_t *two = sd_lexicon_numbers(&m->merges.pairs, pair);
    const sd_lexicon_key *left = &m->pieces.key[two[0]], *right = &m->pieces.key[two[1]];
    memcpy(numbers, m->pieces.numbers + left->begin, (size_t)left->n * sizeof *numbers);
    memcpy(numbers + left->n, m->pieces.numbers + right->begin + 1, (size_t)(right->n - 1) * sizeof *numbers);
    return add_piece(m, numbers, left->n + right->n - 1, piece);
}

static sd_status merge_pairs(maker *m, int size) {
    uint32_t numbers[2 * SD_WORD_CHARS], piece;
    while (m->pieces.n < size) {
        int pair;
        SD_TRY(sd_merges_next(&m->merges, LEAST_COUNT, &pair));
        if (pair < 0)
            break;
        SD_TRY(join(m, pair, numbers, &piece));
        SD_TRY(sd_merges_apply(&m->merges, pair, piece));
    }
    return SD_OK;
}

/* ---- the vocabulary ---- */

static sd_status write_pieces(const sd_lexicon *pieces, char **text) {
    size_t bytes = 0;
    SD_TRY(sd_alloc(text, 4 * pieces->n_numbers + (size_t)pieces->n + 1, 1));
    for (int i = 0; i < pieces->n; i++) {
        bytes += sd_piece_write(sd_lexicon_numbers(pieces, i), pieces->key[i].n, *text + bytes);
        (*text)[bytes++] = '\n';
    }
    return SD_OK;
}

static sd_status make(maker *m, int size, int alphabet, char **text) {
    if (m->words->n == 0)
        return sd_fail(SD_ERR_DATA, "there are no words to make a vocabulary of");
    SD_TRY(sd_alloc(&m->index, CHARACTERS, sizeof *m->index));
    SD_TRY(count_characters(m));
    choose_alphabet(m, alphabet);
    SD_TRY(add_first_pieces(m));
    if (m->pieces.n > size)
        return sd_fail(SD_ERR_CONFIG,
                       "a vocabulary of %d is too small: special tokens and characters alone are %d; allow fewer "
                       "characters, or more pieces",
                       size, m->pieces.n);
    SD_TRY(add_words(m));
    SD_TRY(merge_pairs(m, size));
    return write_pieces(&m->pieces, text);
}

sd_status sd_vocabulary_make(const sd_vocabulary *vocabulary, int size, int alphabet, char **text, int *n) {
    maker m = {.words = &vocabulary->words};
    *text = NULL;
    const sd_status status = make(&m, size, alphabet, text);
    *n = m.pieces.n;
    free(m.index);
    free(m.character);
    free(m.memory);
    sd_lexicon_free(&m.pieces);
    sd_merges_free(&m.merges);
    return status;
}
