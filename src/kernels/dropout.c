/* SPDX-License-Identifier: Apache-2.0 */
#include "dropout.h"

#include "philox.h"
#include "sdtrain/random.h"

/* sd_random_uniform(word) >= rate just if word >= this. */
static uint32_t least_kept_word(float rate) { return (uint32_t)ceil(rate * 0x1p32); }

void dropout_factors(const sd_dropout *dropout, size_t image, size_t row, size_t column,
                     float factor[DROPOUT_COLUMNS]) {
    const uint32_t place = (uint32_t)(dropout->first_image + (dropout->places ? dropout->places[image] : image));
    const uint32_t item = (uint32_t)(row << 16 | column / DROPOUT_COLUMNS * SLICE);
    const vec_word least = splat_word(least_kept_word(dropout->rate));
    const vec scale = splat(dropout_scale(dropout));
    for (uint32_t lane = 0; lane < SLICE; lane += VL) {
        vec_word items = splat_word(item + lane), word[4];
        for (uint32_t i = 0; i < VL; i++)
            items[i] += i;
        const vec_word counter[] = {items, splat_word(place), splat_word((uint32_t)dropout->step),
                                    splat_word(dropout->site)};
        philox(dropout->seed, SD_STREAM_HIDDEN_DROPOUT, counter, word);
        UNROLL
        for (int w = 0; w < 4; w++)
            store(factor + w * SLICE + lane, keep_where((vec_mask)(word[w] >= least), scale));
    }
}
