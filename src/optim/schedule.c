/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "sdtrain/optim.h"

/* Cosine annealing from a (x = 0) to b (x = 1). */
static double half_cosine(double a, double b, double x) { return b + (a - b) * (1 + cos(M_PI * x)) / 2; }

static double one_cycle(double base, double t, double T) {
    const double start = base / 25, end = start / 1e4, peak = 0.3 * T - 1;
    if (t <= peak)
        return half_cosine(start, base, peak > 0 ? t / peak : 1);
    return half_cosine(base, end, (t - peak) / (T - 1 - peak));
}

double sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch) {
    const double T = (double)epochs * (double)steps_per_epoch;
    const double warmup = spec->warmup_epochs * (double)steps_per_epoch;
    double lr = spec->base;
    switch (spec->schedule) {
    case SD_LR_STEP:
        for (int i = 0; i < spec->milestones.n; i++)
            if ((double)(t / steps_per_epoch) >= spec->milestones.value[i])
                lr *= spec->gamma;
        break;
    case SD_LR_COSINE:
        lr = half_cosine(spec->base, spec->minimum, (double)t / T);
        break;
    case SD_LR_LINEAR:
        if ((double)t > warmup)
            lr += (spec->minimum - spec->base) * ((double)t - warmup) / (T - warmup);
        break;
    case SD_LR_ONECYCLE:
        lr = one_cycle(spec->base, (double)t, T);
        break;
    case SD_LR_CONSTANT:
        break;
    }
    return (double)t + 1 < warmup ? lr * ((double)t + 1) / warmup : lr;
}
