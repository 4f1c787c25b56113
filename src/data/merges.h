/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: byte-pair encoding of words, which are sequences of pieces, which are numbers.
 *
 * A pair is two neighbours in a word; it counts as often as the words occur that it is in, and each of its places in
 * them. Counts are exact at any time: a word in which pairs are merged is taken out of all counts and put back. Pairs
 * wait in a heap under the count that they had when they were put there; one that counts less by now goes back. */
#ifndef SDTRAIN_DATA_MERGES_H
#define SDTRAIN_DATA_MERGES_H

#include "lexicon.h"

typedef struct sd_merges_word {
    uint32_t *pieces; /* [n]; the caller's */
    int n;
    uint64_t count;
} sd_merges_word;

typedef struct sd_merges_pair {
    uint64_t count;
    int first_place; /* of those that it has ever been at; -1: none */
    int waiting;     /* it is among sd_merges.raised */
} sd_merges_pair;

typedef struct sd_merges_place {
    int word, next; /* next: place of the same pair; -1: the last */
} sd_merges_place;

typedef struct sd_merges_candidate {
    uint64_t count;
    int pair;
} sd_merges_candidate;

/* Initialise to {0}. */
typedef struct sd_merges {
    int n_words, words_capacity;
    sd_merges_word *word;
    sd_lexicon pairs; /* keys: left, right */
    int pairs_capacity;
    sd_merges_pair *pair; /* [pairs.n] */
    int n_places, places_capacity;
    sd_merges_place *place;
    int n_raised, raised_capacity;
    int *raised; /* pairs that are to go into the heap */
    int n_heap, heap_capacity;
    sd_merges_candidate *heap; /* the best one first */
} sd_merges;

void sd_merges_free(sd_merges *merges);

/* Adds a word of the caller's pieces, which merging changes. SD_ERR_MEMORY. */
sd_status sd_merges_add_word(sd_merges *merges, uint32_t *pieces, int n, uint64_t count);

/* The pair that counts most, of equal ones that of the lowest left, then right piece; it is taken from the heap.
 * *pair: -1: none counts `least`. SD_ERR_MEMORY. */
sd_status sd_merges_next(sd_merges *merges, uint64_t least, int *pair);

/* Makes a pair's two pieces one, `piece`, wherever they are, from the left of each word. SD_ERR_MEMORY. */
sd_status sd_merges_apply(sd_merges *merges, int pair, uint32_t piece);

#endif
