/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/drop.h"
#include "sdtrain/random.h"

enum { WORDS = 4 }; /* per random number */

sd_status sd_drop_plan_create(int units, sd_drop_plan *plan) {
    *plan = (sd_drop_plan){.units = units};
    SD_TRY(sd_alloc(&plan->kept, (size_t)units, sizeof *plan->kept));
    SD_TRY(sd_alloc(&plan->scale, (size_t)units, sizeof *plan->scale));
    return sd_alloc(&plan->images, (size_t)units, sizeof *plan->images);
}

void sd_drop_plan_free(sd_drop_plan *plan) {
    free(plan->kept);
    free(plan->scale);
    free(plan->images);
    memset(plan, 0, sizeof *plan);
}

sd_status sd_drop_part_create(int units, int max_images, sd_drop_part *part) {
    *part = (sd_drop_part){.units = units, .max_images = max_images};
    SD_TRY(sd_alloc(&part->images, (size_t)units, sizeof *part->images));
    return sd_alloc(&part->places, (size_t)units * (size_t)max_images, sizeof *part->places);
}

void sd_drop_part_free(sd_drop_part *part) {
    free(part->images);
    free(part->places);
    memset(part, 0, sizeof *part);
}

static bool keeps(const sd_drop_spec *drop, int unit, uint32_t word) {
    const double *threshold = drop->threshold ? drop->threshold : drop->rate;
    return !(sd_random_uniform(word) < threshold[unit]);
}

/* The random number whose four words decide for choosers 4i .. 4i + 3 (ranks, or places in the batch), i = chooser /
 * 4. */
static sd_random draw(const sd_drop_spec *drop, int unit, uint64_t chooser, uint64_t step) {
    const uint32_t stream = drop->scope == SD_DROP_SCOPE_RANK ? SD_STREAM_DROP_RANK : SD_STREAM_DROP_SAMPLE;
    return sd_random_at(drop->seed, stream, (uint64_t)unit << 32 | chooser / WORDS, step);
}

/* The number of images of a batch that keep a unit. */
static uint64_t count_kept(const sd_drop_spec *drop, int unit, uint64_t attempt, uint64_t step, uint64_t images) {
    if (drop->scope == SD_DROP_SCOPE_GLOBAL) {
        const uint64_t item = attempt << 32 | (uint64_t)unit;
        return keeps(drop, unit, sd_random_at(drop->seed, SD_STREAM_DROP, item, step).word[0]) ? images : 0;
    }
    const bool by_rank = drop->scope == SD_DROP_SCOPE_RANK;
    const uint64_t choosers = by_rank ? (uint64_t)drop->ranks : images;
    uint64_t kept = 0;
    sd_random random = {{0}};
    for (uint64_t chooser = 0; chooser < choosers; chooser++) {
        if (chooser % WORDS == 0)
            random = draw(drop, unit, chooser, step);
        if (keeps(drop, unit, random.word[chooser % WORDS]))
            kept += by_rank ? sd_range_share(images, (int)chooser, drop->ranks).count : 1;
    }
    return kept;
}

static void draw_attempt(const sd_drop_spec *drop, uint64_t attempt, uint64_t step, uint64_t images,
                         sd_drop_plan *plan) {
    plan->kept_units = 0;
    for (int unit = 0; unit < drop->units; unit++) {
        plan->images[unit] = count_kept(drop, unit, attempt, step, images);
        plan->kept[unit] = plan->images[unit] > 0;
        plan->kept_units += plan->kept[unit];
    }
}

void sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan) {
    uint64_t attempt = 0;
    do
        draw_attempt(drop, attempt++, step, images, plan);
    while (plan->kept_units < drop->min_kept);
    for (int unit = 0; unit < drop->units; unit++) {
        const double p = drop->rate[unit];
        plan->scale[unit] = drop->scale == SD_DROP_SCALE_TRAINING && p < 1 ? (float)(1 / (1 - p)) : 1.0f;
    }
}

/* Writes the places, counted from the first of `share`, of its images that keep a unit. Returns their number. */
static int list_kept(const sd_drop_spec *drop, int unit, uint64_t step, sd_range share, uint32_t *places) {
    int kept = 0;
    sd_random random = {{0}};
    for (uint64_t i = 0; i < share.count; i++) {
        const uint64_t place = share.first + i;
        if (i == 0 || place % WORDS == 0)
            random = draw(drop, unit, place, step);
        if (keeps(drop, unit, random.word[place % WORDS]))
            places[kept++] = (uint32_t)i;
    }
    return kept;
}

void sd_drop_part_draw(const sd_drop_spec *drop, uint64_t step, int rank, sd_range share, sd_drop_part *part) {
    for (int unit = 0; unit < drop->units; unit++) {
        uint32_t *places = part->places + (size_t)unit * (size_t)part->max_images;
        if (drop->scope == SD_DROP_SCOPE_SAMPLE) {
            part->images[unit] = list_kept(drop, unit, step, share, places);
            continue;
        }
        const uint32_t word = draw(drop, unit, (uint64_t)rank, step).word[rank % WORDS];
        part->images[unit] = keeps(drop, unit, word) ? (int)share.count : 0;
        for (int i = 0; i < part->images[unit]; i++)
            places[i] = (uint32_t)i;
    }
}

void sd_drop_plan_evaluation(const sd_drop_spec *drop, const unsigned char *keep, sd_drop_plan *plan) {
    plan->kept_units = 0;
    for (int unit = 0; unit < drop->units; unit++) {
        plan->kept[unit] = !keep || keep[unit];
        plan->kept_units += plan->kept[unit];
        plan->scale[unit] = drop->scale == SD_DROP_SCALE_INFERENCE ? (float)(1 - drop->rate[unit]) : 1.0f;
    }
}
