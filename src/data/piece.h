/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: word pieces as keys of a lexicon. A piece's key is its characters; "##ing", which goes on with a
 * word, is SD_PIECE_CONTINUES, 'i', 'n', 'g'. */
#ifndef SDTRAIN_DATA_PIECE_H
#define SDTRAIN_DATA_PIECE_H

#include "lexicon.h"

enum { SD_PIECE_CONTINUES = 0x110000 }; /* no character */

/* In the order of a vocabulary that `sdtrain vocab` makes. A vocabulary may lack the last one only. */
enum { SD_SPECIALS = 5, SD_SPECIAL_CHARS = 6 /* at most */ };
extern const char *const sd_special_names[SD_SPECIALS]; /* [PAD], [UNK], [CLS], [SEP], [MASK] */

/* From UTF-8, well-formed. numbers: room for one a byte. Returns how many they are. */
int sd_piece_read(const char *text, size_t bytes, uint32_t *numbers);

/* To UTF-8, without a zero behind. text: room for 4 bytes a number. Returns how many they are. */
size_t sd_piece_write(const uint32_t *numbers, int n, char *text);

#endif
