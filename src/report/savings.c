/* SPDX-License-Identifier: Apache-2.0 */
/* Closed forms where they exist, else means over the plans of some steps. */
#include "sdtrain/savings.h"

#include <math.h>

sd_savings sd_savings_expected(const sd_network *network, const sd_drop_spec *drop, uint64_t images) {
    sd_savings savings = {0};
    const int units = sd_network_n_units(network);
    for (int i = 0; i < units; i++) {
        const sd_unit *unit = sd_network_unit(network, i);
        savings.branches += drop->rate[i] / units;
        savings.flops += drop->rate[i] * unit->flops / sd_network_flops(network);
        savings.bytes += sd_drop_probability_for_all(drop, i, images) * (double)unit->parameters /
                         (double)sd_network_parameters(network);
    }
    for (int i = 0; i < sd_network_n_segments(network); i++) {
        const sd_segment *segment = sd_network_segment(network, i);
        if (!segment->frozen)
            continue;
        const double share = (double)segment->parameter_elems / (double)sd_network_parameters(network);
        savings.frozen += share;
        savings.bytes +=
            share * (1 - (segment->unit >= 0 ? sd_drop_probability_for_all(drop, segment->unit, images) : 0));
    }
    return savings;
}

/* Forward FLOPs that a rank saves in a step by dropping. */
static double spared(const sd_network *network, const sd_drop_spec *drop, uint64_t step, int rank, sd_range share,
                     sd_drop_part *part) {
    double flops = 0;
    sd_drop_part_draw(drop, step, rank, share, part);
    for (int i = 0; i < drop->units; i++)
        flops += (double)(share.count - (uint64_t)part->images[i]) * sd_network_unit(network, i)->flops;
    return flops;
}

sd_status sd_savings_of_slowest(const sd_network *network, const sd_drop_spec *drop, uint64_t images, int ranks,
                                int steps, double *saved) {
    const double image_flops = sd_network_flops(network);
    *saved = sd_savings_expected(network, drop, images).flops;
    if (drop->scope == SD_DROP_SCOPE_GLOBAL || ranks == 1)
        return SD_OK; /* no rank waits for another */
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
