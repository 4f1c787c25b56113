/* SPDX-License-Identifier: Apache-2.0 */
#include "lexicon.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

void sd_lexicon_free(sd_lexicon *lexicon) {
    free(lexicon->key);
    free(lexicon->numbers);
    free(lexicon->slot);
    *lexicon = (sd_lexicon){0};
}

/* The slot of a key, or the one that it would take. There is a free one. */
static size_t find_slot(const sd_lexicon *lexicon, uint32_t hash, const uint32_t *numbers, int n) {
    size_t at = hash & (lexicon->slots - 1);
    for (; lexicon->slot[at].next > 0; at = (at + 1) & (lexicon->slots - 1)) {
        const sd_lexicon_key *key = &lexicon->key[lexicon->slot[at].next - 1];
        if (lexicon->slot[at].hash == hash && key->n == n &&
            !memcmp(lexicon->numbers + key->begin, numbers, (size_t)n * sizeof *numbers))
            break;
    }
    return at;
}

int sd_lexicon_find_hashed(const sd_lexicon *lexicon, uint64_t hash, const uint32_t *numbers, int n) {
    return lexicon->slots ? lexicon->slot[find_slot(lexicon, (uint32_t)hash, numbers, n)].next - 1 : -1;
}

static uint64_t hash_of(const uint32_t *numbers, int n) {
    uint64_t hash = 0;
    for (int i = 0; i < n; i++)
        hash = sd_lexicon_hash(hash, numbers[i]);
    return hash;
}

int sd_lexicon_find(const sd_lexicon *lexicon, const uint32_t *numbers, int n) {
    return sd_lexicon_find_hashed(lexicon, hash_of(numbers, n), numbers, n);
}

/* Twice as many slots. Keys differ, so a place is all they need. */
static sd_status grow_slots(sd_lexicon *lexicon) {
    const size_t slots = lexicon->slots ? 2 * lexicon->slots : 1024;
    sd_lexicon_slot *slot;
    SD_TRY(sd_alloc(&slot, slots, sizeof *slot));
    for (size_t from = 0; from < lexicon->slots; from++) {
        size_t to = lexicon->slot[from].hash & (slots - 1);
        while (slot[to].next > 0)
            to = (to + 1) & (slots - 1);
        if (lexicon->slot[from].next > 0)
            slot[to] = lexicon->slot[from];
    }
    free(lexicon->slot);
    lexicon->slot = slot;
    lexicon->slots = slots;
    return SD_OK;
}

static sd_status grow_numbers(sd_lexicon *lexicon, size_t n) {
    size_t capacity = lexicon->numbers_capacity ? lexicon->numbers_capacity : 1024;
    while (capacity < lexicon->n_numbers + n)
        capacity *= 2;
    if (capacity == lexicon->numbers_capacity)
        return SD_OK;
    uint32_t *numbers = realloc(lexicon->numbers, capacity * sizeof *numbers);
    if (!numbers)
        return sd_fail(SD_ERR_MEMORY, "out of memory (%zu bytes)", capacity * sizeof *numbers);
    lexicon->numbers = numbers;
    lexicon->numbers_capacity = capacity;
    return SD_OK;
}

static sd_status make_key(sd_lexicon *lexicon, uint32_t hash, const uint32_t *numbers, int n) {
    if (lexicon->n == INT_MAX / 2)
        return sd_fail(SD_ERR_MEMORY, "more than %d different words", lexicon->n);
    if (2 * (size_t)lexicon->n >= lexicon->slots)
        SD_TRY(grow_slots(lexicon));
    SD_TRY(grow_numbers(lexicon, (size_t)n));
    SD_TRY(sd_grow(&lexicon->key, lexicon->n, &lexicon->capacity, sizeof *lexicon->key));
    lexicon->slot[find_slot(lexicon, hash, numbers, n)] = (sd_lexicon_slot){hash, (int32_t)lexicon->n + 1};
    lexicon->key[lexicon->n++] = (sd_lexicon_key){.begin = lexicon->n_numbers, .n = n};
    memcpy(lexicon->numbers + lexicon->n_numbers, numbers, (size_t)n * sizeof *numbers);
    lexicon->n_numbers += (size_t)n;
    return SD_OK;
}

sd_status sd_lexicon_add(sd_lexicon *lexicon, const uint32_t *numbers, int n, int *key) {
    const uint64_t hash = hash_of(numbers, n);
    *key = sd_lexicon_find_hashed(lexicon, hash, numbers, n);
    if (*key < 0) {
        SD_TRY(make_key(lexicon, (uint32_t)hash, numbers, n));
        *key = lexicon->n - 1;
    }
    lexicon->key[*key].count++;
    return SD_OK;
}
