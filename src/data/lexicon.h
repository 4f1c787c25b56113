/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: keys, which are sequences of 32-bit numbers, numbered from 0 in the order in which they are added.
 * Word pieces, words and pairs of pieces are such keys.
 *
 * An open hash table. Numbers, and all that is made of them, depend on the order of keys alone, not on hashes. */
#ifndef SDTRAIN_DATA_LEXICON_H
#define SDTRAIN_DATA_LEXICON_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

typedef struct sd_lexicon_key {
    size_t begin;   /* in sd_lexicon.numbers */
    uint64_t count; /* how often it was added */
    int n;
} sd_lexicon_key;

typedef struct sd_lexicon_slot {
    uint32_t hash;
    int32_t next; /* the key's number + 1; 0: none is here */
} sd_lexicon_slot;

/* Initialise to {0}. */
typedef struct sd_lexicon {
    int n, capacity;
    sd_lexicon_key *key;
    uint32_t *numbers;
    size_t n_numbers, numbers_capacity;
    sd_lexicon_slot *slot; /* [slots], a power of two; at most half of them are taken */
    size_t slots;
} sd_lexicon;

void sd_lexicon_free(sd_lexicon *lexicon);

/* The number of a key; -1: it is not there. */
int sd_lexicon_find(const sd_lexicon *lexicon, const uint32_t *numbers, int n);

/* Likewise for one whose hash is known: 0, taken on by each number; so a key's beginnings are hashed on the way. */
int sd_lexicon_find_hashed(const sd_lexicon *lexicon, uint64_t hash, const uint32_t *numbers, int n);
static inline uint64_t sd_lexicon_hash(uint64_t hash, uint32_t number) {
    hash = (hash ^ (number + 1)) * 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

/* Counts a key, which is made if it is not there. numbers: [n], outside the lexicon. *key: its number.
 * SD_ERR_MEMORY. */
sd_status sd_lexicon_add(sd_lexicon *lexicon, const uint32_t *numbers, int n, int *key);

/* [lexicon->key[key].n] numbers, until a key is added. */
static inline const uint32_t *sd_lexicon_numbers(const sd_lexicon *lexicon, int key) {
    return lexicon->numbers + lexicon->key[key].begin;
}

#endif
