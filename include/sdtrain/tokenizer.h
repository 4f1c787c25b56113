/* SPDX-License-Identifier: Apache-2.0 */
/* BERT's tokenizer: texts to numbers of word pieces.
 *
 * Local. Same text and vocabulary, same ids as Hugging Face's BertTokenizerFast (transformers 5.24, tokenizers 0.23),
 * but for some 500 characters that came to Unicode after version 7 (src/data/words.h). A word is cut into the longest
 * pieces of the vocabulary, from its left; pieces that go on with a word are written "##piece" there; the whole word is
 * [UNK] if a rest of it has no piece, or if it has more than 100 characters. "[CLS]", "[SEP]", "[PAD]", "[UNK]" and
 * "[MASK]" in a text, written so, are these tokens.
 *
 * Texts are UTF-8. A tokenizer is never changed: threads share it. */
#ifndef SDTRAIN_TOKENIZER_H
#define SDTRAIN_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_tokenizer sd_tokenizer;

/* vocab: content of a vocab.txt: a piece a line, whose id is the number of the line, from 0; lines may end in CRLF.
 * file: its name, for messages. lower_case: of an "uncased" vocabulary: letters are lowered and lose their accents.
 *
 * SD_ERR_DATA, with file and line: a line that is empty, no UTF-8, or there twice; no line at all; no [PAD], [UNK],
 * [CLS] or [SEP]. SD_ERR_MEMORY. On failure *tokenizer is NULL. */
sd_status sd_tokenizer_create(const char *vocab, size_t bytes, const char *file, bool lower_case,
                              sd_tokenizer **tokenizer);
void sd_tokenizer_free(sd_tokenizer **tokenizer);

int sd_tokenizer_size(const sd_tokenizer *tokenizer); /* of the vocabulary: ids are 0..size-1 */

typedef struct sd_special_tokens {
    int32_t pad, unk, cls, sep;
    int32_t mask; /* -1: the vocabulary has none */
} sd_special_tokens;
const sd_special_tokens *sd_tokenizer_special(const sd_tokenizer *tokenizer);

/* The ids of a text's pieces, without [CLS] and [SEP]; the first `room` of them: ids: [room]. Returns how many were
 * written. Malformed UTF-8 is left out, byte by byte. */
size_t sd_tokenize(const sd_tokenizer *tokenizer, const char *text, size_t bytes, int32_t *ids, size_t room);

/* What a network reads of a text: [CLS] a [SEP], or, if b is not NULL, [CLS] a [SEP] b [SEP], padded behind with
 * [PAD]. What is too long is cut at its end, as by Hugging Face's longest_first: of a pair the longer text to the room
 * that the shorter one leaves; if both are longer than half of the room, both to a half, and an odd place goes to the
 * longer one, to b if they are equal.
 *
 * ids: [sequence]. *length: ids in front of the padding. *second: where b begins; *length without one. Ids from there
 * on have type 1. SD_ERR_CONFIG if the sequence has no room for [CLS] and [SEP]. */
sd_status sd_tokenize_sample(const sd_tokenizer *tokenizer, const char *a, size_t a_bytes, const char *b,
                             size_t b_bytes, int sequence, int32_t *ids, int32_t *length, int32_t *second);

/* Whether a text is UTF-8 (no overlong forms, no surrogates). *bad: the first byte that is not, if bad is not NULL. */
bool sd_utf8_check(const char *text, size_t bytes, size_t *bad);

#ifdef __cplusplus
}
#endif
#endif
