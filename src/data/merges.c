/* SPDX-License-Identifier: Apache-2.0 */
#include "merges.h"

#include <stdbool.h>
#include <stdlib.h>

#include "sdtrain/arena.h"

void sd_merges_free(sd_merges *merges) {
    free(merges->word);
    sd_lexicon_free(&merges->pairs);
    free(merges->pair);
    free(merges->place);
    free(merges->raised);
    free(merges->heap);
    *merges = (sd_merges){0};
}

/* ---- the heap ---- */

static bool is_before(const sd_merges *m, sd_merges_candidate a, sd_merges_candidate b) {
    const uint32_t *x = sd_lexicon_numbers(&m->pairs, a.pair), *y = sd_lexicon_numbers(&m->pairs, b.pair);
    if (a.count != b.count)
        return a.count > b.count;
    return x[0] != y[0] ? x[0] < y[0] : x[1] < y[1];
}

static sd_status push(sd_merges *m, int pair) {
    const sd_merges_candidate candidate = {m->pair[pair].count, pair};
    SD_TRY(sd_grow(&m->heap, m->n_heap, &m->heap_capacity, sizeof *m->heap));
    int at = m->n_heap++;
    for (; at > 0 && is_before(m, candidate, m->heap[(at - 1) / 2]); at = (at - 1) / 2)
        m->heap[at] = m->heap[(at - 1) / 2];
    m->heap[at] = candidate;
    return SD_OK;
}

static sd_merges_candidate pop(sd_merges *m) {
    const sd_merges_candidate best = m->heap[0], last = m->heap[--m->n_heap];
    int at = 0;
    for (int child; (child = 2 * at + 1) < m->n_heap; at = child) {
        if (child + 1 < m->n_heap && is_before(m, m->heap[child + 1], m->heap[child]))
            child++;
        if (!is_before(m, m->heap[child], last))
            break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = last;
    return best;
}

static sd_status push_raised(sd_merges *m) {
    while (m->n_raised > 0) {
        const int pair = m->raised[--m->n_raised];
        m->pair[pair].waiting = 0;
        SD_TRY(push(m, pair));
    }
    return SD_OK;
}

sd_status sd_merges_next(sd_merges *merges, uint64_t least, int *pair) {
    SD_TRY(push_raised(merges));
    for (*pair = -1; merges->n_heap > 0;) {
        const sd_merges_candidate best = pop(merges);
        const uint64_t count = merges->pair[best.pair].count;
        if (best.count < least)
            break;
        if (best.count == count) {
            *pair = best.pair;
            break;
        }
        if (count < best.count) /* else it was pushed again when it was raised */
            SD_TRY(push(merges, best.pair));
    }
    return SD_OK;
}

/* ---- counts ---- */

static void take_out(sd_merges *m, const sd_merges_word *word) {
    for (int i = 0; i + 1 < word->n; i++)
        m->pair[sd_lexicon_find(&m->pairs, word->pieces + i, 2)].count -= word->count;
}

static sd_status raise(sd_merges *m, int pair, int word) {
    sd_merges_pair *p = &m->pair[pair];
    if (p->first_place < 0 || m->place[p->first_place].word != word) {
        SD_TRY(sd_grow(&m->place, m->n_places, &m->places_capacity, sizeof *m->place));
        m->place[m->n_places] = (sd_merges_place){word, p->first_place};
        p->first_place = m->n_places++;
    }
    if (!p->waiting) {
        SD_TRY(sd_grow(&m->raised, m->n_raised, &m->raised_capacity, sizeof *m->raised));
        m->raised[m->n_raised++] = pair;
        p->waiting = 1;
    }
    return SD_OK;
}

/* made: the piece whose pairs are new in the word; NULL: all are. */
static sd_status put_in(sd_merges *m, int index, const uint32_t *made) {
    const sd_merges_word *word = &m->word[index];
    for (int i = 0; i + 1 < word->n; i++) {
        const uint32_t *two = word->pieces + i;
        const int before = m->pairs.n;
        int pair;
        SD_TRY(sd_lexicon_add(&m->pairs, two, 2, &pair));
        if (m->pairs.n > before) {
            SD_TRY(sd_grow(&m->pair, before, &m->pairs_capacity, sizeof *m->pair));
            m->pair[pair] = (sd_merges_pair){.first_place = -1};
        }
        m->pair[pair].count += word->count;
        if (!made || two[0] == *made || two[1] == *made)
            SD_TRY(raise(m, pair, index));
    }
    return SD_OK;
}

sd_status sd_merges_add_word(sd_merges *merges, uint32_t *pieces, int n, uint64_t count) {
    SD_TRY(sd_grow(&merges->word, merges->n_words, &merges->words_capacity, sizeof *merges->word));
    merges->word[merges->n_words] = (sd_merges_word){pieces, n, count};
    return put_in(merges, merges->n_words++, NULL);
}

/* ---- merging ---- */

static bool has(const sd_merges_word *word, uint32_t left, uint32_t right) {
    for (int i = 0; i + 1 < word->n; i++)
        if (word->pieces[i] == left && word->pieces[i + 1] == right)
            return true;
    return false;
}

static void merge(sd_merges_word *word, uint32_t left, uint32_t right, uint32_t piece) {
    int n = 0;
    for (int i = 0; i < word->n; n++)
        if (i + 1 < word->n && word->pieces[i] == left && word->pieces[i + 1] == right) {
            word->pieces[n] = piece;
            i += 2;
        } else {
            word->pieces[n] = word->pieces[i++];
        }
    word->n = n;
}

sd_status sd_merges_apply(sd_merges *merges, int pair, uint32_t piece) {
    const uint32_t *two = sd_lexicon_numbers(&merges->pairs, pair), left = two[0], right = two[1];
    int at = merges->pair[pair].first_place;
    merges->pair[pair].first_place = -1;
    for (; at >= 0; at = merges->place[at].next) {
        const int index = merges->place[at].word;
        sd_merges_word *word = &merges->word[index];
        if (!has(word, left, right))
            continue;
        take_out(merges, word);
        merge(word, left, right, piece);
        SD_TRY(put_in(merges, index, &piece));
    }
    return SD_OK;
}
