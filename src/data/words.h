/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the words of a text, as BERT's tokenizer has them before it looks into its vocabulary.
 *
 * Hugging Face's BertNormalizer and BertPreTokenizer (tokenizers 0.23), one character after the other:
 *   U+0000, U+FFFD, controls (Cc but tab, newline, return), formats (Cf) and private use (Co) are dropped;
 *   white space (those three, Z*) separates words; so does a CJK ideograph, which is a word of its own;
 *   lower_case: canonical decomposition (NFD), nonspacing marks (Mn) are dropped, the rest to lower case by simple
 *   mappings; no language's own rules: the final sigma is a sigma;
 *   punctuation (P*, and the 32 of ASCII) is a word of its own.
 * Categories are those of utf8proc's Unicode. The tables of tokenizers are of Unicode 7: 504 characters of Unicode 14
 * are neither marks, punctuation nor formats there, as they came later (Adlam, Quranic marks, ...) or were changed. */
#ifndef SDTRAIN_DATA_WORDS_H
#define SDTRAIN_DATA_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SD_WORD_CHARS = 100 }; /* a longer word is unknown, whatever the vocabulary has */

typedef struct sd_words {
    const char *text;
    size_t bytes, at;
    bool lower_case;
    uint32_t folded[8]; /* what became of the character before `at`; ' ' for a border between words */
    int n_folded, next_folded;
    int reorderable; /* chars[reorderable...] are marks behind one base character */

    uint32_t chars[SD_WORD_CHARS]; /* the word */
    int n;                         /* SD_WORD_CHARS + 1: it is longer */
} sd_words;

/* Begins at a text of UTF-8; malformed bytes are dropped. The text must outlive the words. */
void sd_words_begin(sd_words *words, const char *text, size_t bytes, bool lower_case);

/* Reads the next word into chars and n; false: there is none. What is done to chars between two calls is no matter. */
bool sd_words_next(sd_words *words);

#endif
