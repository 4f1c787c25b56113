/* SPDX-License-Identifier: Apache-2.0 */
#include "dropout.h"

#include "philox.h"
#include "sdtrain/random.h"

/* sd_random_uniform(word) >= rate just if word >= this. */
static uint32_t least_kept_word(float rate) { return (uint32_t)ceil(rate * 0x1p32); }

void dropout_factors(const sd_dropout *dropout, size_t image, size_t row, size_t column,
                     float factor[DROPOUT_COLUMNS]) {
    static const uint32_t lanes[SLICE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint32_t place = (uint32_t)(dropout->first_image + (dropout->places ? dropout->places[image] : image));
    const uint32_t item = (uint32_t)(row << 16 | column / DROPOUT_COLUMNS * SLICE);
    const vec_word least = splat_word(least_kept_word(dropout->rate));
    const vec scale = splat(dropout_scale(dropout));
    for (int lane = 0; lane < SLICE; lane += VL) {
        const vec_word counter[] = {item + load_words(lanes + lane), splat_word(place),
                                    splat_word((uint32_t)dropout->step), splat_word(dropout->site)};
        vec_word word[4];
        philox(dropout->seed, SD_STREAM_HIDDEN_DROPOUT, counter, word);
        UNROLL
        for (int w = 0; w < 4; w++)
            store(factor + w * SLICE + lane, keep_where((vec_mask)(word[w] >= least), scale));
    }
}
