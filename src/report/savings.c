/* SPDX-License-Identifier: Apache-2.0 */
/* What each scope of decisions saves: closed forms where there are, else the real plans of some steps. */
#include <math.h>

#include "sdtrain/report.h"

enum { DRAWN_STEPS = 200, MOST_DRAWS = 1 << 28 };

/* The probability that nobody keeps a unit, so that its gradient is not sent. */
static double dropped_by_all(const sd_drop_spec *drop, double rate, uint64_t images) {
    switch (drop->scope) {
    case SD_DROP_SCOPE_GLOBAL:
        break;
    case SD_DROP_SCOPE_RANK:
        return pow(rate, drop->ranks);
    case SD_DROP_SCOPE_SAMPLE:
        return pow(rate, (double)images);
    }
    return rate;
}

sd_savings sd_savings_expected(sd_network *network, const sd_drop_spec *drop, uint64_t images) {
    sd_savings savings = {0};
    const int units = sd_network_n_units(network);
    for (int i = 0; i < units; i++) {
        const sd_unit *unit = sd_network_unit(network, i);
        savings.branches += drop->rate[i] / units;
        savings.flops += drop->rate[i] * unit->flops / sd_network_flops(network);
        savings.bytes += dropped_by_all(drop, drop->rate[i], images) * (double)unit->parameters /
                         (double)sd_network_parameters(network);
    }
    return savings;
}

/* Forward FLOPs that a rank is spared in a step. */
static double spared(sd_network *network, const sd_drop_spec *drop, uint64_t step, int rank, sd_range share,
                     sd_drop_part *part) {
    double flops = 0;
    sd_drop_part_draw(drop, step, rank, share, part);
    for (int i = 0; i < drop->units; i++)
        flops += (double)(share.count - (uint64_t)part->images[i]) * sd_network_unit(network, i)->flops;
    return flops;
}

sd_status sd_savings_of_slowest(sd_network *network, const sd_drop_spec *drop, uint64_t images, int ranks, int steps,
                                double *saved) {
    const double image_flops = sd_network_flops(network);
    *saved = sd_savings_expected(network, drop, images).flops;
    if (drop->scope == SD_DROP_SCOPE_GLOBAL || ranks == 1)
        return SD_OK; /* there is no other rank */
    const double largest = (double)((images + (uint64_t)ranks - 1) / (uint64_t)ranks);
    double kept = 0;
    sd_drop_part part;
    sd_status status = sd_drop_part_create(drop->units, (int)largest, &part);
    for (uint64_t step = 1; status == SD_OK && step <= (uint64_t)steps; step++) {
        double slowest = 0;
        for (int rank = 0; rank < ranks; rank++) {
            const sd_range share = sd_range_share(images, rank, ranks);
            slowest =
                fmax(slowest, (double)share.count * image_flops - spared(network, drop, step, rank, share, &part));
        }
        kept += slowest / (largest * image_flops) / steps;
    }
    sd_drop_part_free(&part);
    *saved = 1 - kept;
    return status;
}

sd_status sd_savings_print(const sd_description *d, uint64_t images) {
    const uint64_t draws = images * (uint64_t)d->drop->units, affordable = MOST_DRAWS / (draws ? draws : 1);
    const int steps = affordable < 1 ? 1 : affordable < DRAWN_STEPS ? (int)affordable : DRAWN_STEPS;
    printf("\nskipped with each stochastic_depth.scope, of %llu images on %d rank%s; expected",
           (unsigned long long)images, d->ranks, d->ranks == 1 ? "" : "s");
    if (d->ranks > 1)
        printf(" (slowest rank of a step: mean of %d drawn step%s)", steps, steps == 1 ? "" : "s");
    printf(":\n");
    printf("scope   branches  FLOPs, mean rank  FLOPs, slowest rank  gradient bytes\n");
    for (int scope = SD_DROP_SCOPE_GLOBAL; scope <= SD_DROP_SCOPE_SAMPLE; scope++) {
        sd_drop_spec drop = *d->drop;
        double slowest;
        drop.scope = (sd_drop_scope)scope;
        drop.ranks = d->ranks;
        const sd_savings savings = sd_savings_expected(d->network, &drop, images);
        SD_TRY(sd_savings_of_slowest(d->network, &drop, images, d->ranks, steps, &slowest));
        printf("%-6s  %6.2f %%          %6.2f %%             %6.2f %%        %6.2f %%\n",
               sd_drop_scope_word(drop.scope), 100 * savings.branches, 100 * savings.flops, 100 * slowest,
               d->skip_dropped ? 100 * savings.bytes : 0.0);
    }
    return SD_OK;
}
