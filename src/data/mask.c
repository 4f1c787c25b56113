/* SPDX-License-Identifier: Apache-2.0 */
#include "mask.h"

static bool is_candidate(const sd_special_tokens *special, int32_t id) {
    return id != special->cls && id != special->sep;
}

static int count_candidates(const sd_special_tokens *special, const sd_text *text) {
    int n = 0;
    for (int32_t t = 0; t < text->length; t++)
        n += is_candidate(special, text->ids[t]);
    return n;
}

int sd_mask_count(const sd_special_tokens *special, const sd_text *text) {
    return sd_masked_of(count_candidates(special, text));
}

static int32_t replacement(const sd_special_tokens *special, int vocabulary, sd_draws *draws, int32_t id) {
    const double kind = sd_random_uniform(sd_draws_next(draws));
    if (kind < 0.8)
        return special->mask;
    return kind < 0.9 ? (int32_t)sd_random_index(sd_draws_next(draws), (uint64_t)vocabulary) : id;
}

/* Selection sampling (Knuth, The Art of Computer Programming 2, algorithm 3.4.2 S): of those left, each is taken with
 * the probability wanted / left. */
int sd_mask(const sd_special_tokens *special, int vocabulary, const sd_text *text, sd_draws *draws, int32_t *ids,
            int32_t place, int32_t *places, int32_t *labels) {
    int left = count_candidates(special, text), n = 0;
    const int all = sd_masked_of(left);
    for (int32_t t = 0; t < text->length && n < all; t++) {
        const int32_t id = text->ids[t];
        if (!is_candidate(special, id))
            continue;
        if (sd_random_index(sd_draws_next(draws), (uint64_t)left--) >= (uint32_t)(all - n))
            continue;
        places[n] = place + t;
        labels[n++] = id;
        ids[t] = replacement(special, vocabulary, draws, id);
    }
    return n;
}
