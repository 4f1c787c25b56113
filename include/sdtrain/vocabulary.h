/* SPDX-License-Identifier: Apache-2.0 */
/* Building a vocabulary of word pieces from texts, for sdtrain/tokenizer.h.
 *
 * Local. The pieces are those of Hugging Face's BertWordPieceTokenizer.train() (tokenizers 0.23), which merges as
 * byte-pair encoding does: [PAD] [UNK] [CLS] [SEP] [MASK]; the characters; those characters that go on with a word, as
 * "##c"; then again and again the two neighbouring pieces that occur most often in all words, made one, as long as they
 * occur twice. Where it leaves the order to chance ours is fixed: characters by code point, and of equally frequent
 * pairs the one whose left, then right piece came first. So a vocabulary is a function of how often each word occurs.
 *
 * Words of more than 100 characters are left out: they are [UNK] to every vocabulary. */
#ifndef SDTRAIN_VOCABULARY_H
#define SDTRAIN_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_vocabulary sd_vocabulary;

/* SD_ERR_MEMORY, and *vocabulary is NULL. */
sd_status sd_vocabulary_create(bool lower_case, sd_vocabulary **vocabulary);
void sd_vocabulary_free(sd_vocabulary **vocabulary);

/* Counts the words of a text of UTF-8. Memory grows with the number of different words. SD_ERR_MEMORY. */
sd_status sd_vocabulary_add(sd_vocabulary *vocabulary, const char *text, size_t bytes);

/* Counts those of a file: a .tsv or .csv table as data.dataset = text has them, or a text a line. text_columns: as
 * data.text_columns; NULL: found by name; if given, every file is a table. *texts: of the file, a pair counts as one.
 *
 * SD_ERR_NOINPUT; SD_ERR_DATA with file and line: no UTF-8, no table; SD_ERR_CONFIG: the columns are not found;
 * SD_ERR_MEMORY. */
sd_status sd_vocabulary_add_file(sd_vocabulary *vocabulary, const char *path, const char *text_columns,
                                 uint64_t *texts);

uint64_t sd_vocabulary_words(const sd_vocabulary *vocabulary);      /* counted */
int sd_vocabulary_different_words(const sd_vocabulary *vocabulary); /* of these */

/* Makes vocab.txt: *n lines, `size` of them, or less if no pair occurs twice any more. Words may be added afterwards,
 * and other vocabularies made. alphabet: so many characters at most, the most frequent ones (of equally frequent ones
 * those of lower code points); the others are left out of words.
 *
 * Caller frees *text, which ends in a zero. SD_ERR_DATA: there are no words; SD_ERR_CONFIG: special tokens and
 * characters are more than `size`; SD_ERR_MEMORY. On failure *text is NULL. */
enum { SD_VOCABULARY_ALPHABET = 1000 }; /* Hugging Face's */
sd_status sd_vocabulary_make(const sd_vocabulary *vocabulary, int size, int alphabet, char **text, int *n);

#ifdef __cplusplus
}
#endif
#endif
