/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/drop.h"

#include <math.h>

double sd_drop_rate(sd_drop_schedule schedule, double rate, int l, int L) {
    switch (schedule) {
    case SD_DROP_LINEAR:
        return (double)l / L * rate;
    case SD_DROP_LINSPACE:
        return L > 1 ? (double)(l - 1) / (L - 1) * rate : 0.0;
    case SD_DROP_ZERO_BASED:
        return (double)(l - 1) / L * rate;
    case SD_DROP_CONSTANT:
    case SD_DROP_LIST:
        break;
    }
    return rate;
}

double sd_drop_probability_for_all(const sd_drop_spec *drop, int unit, uint64_t images) {
    switch (drop->scope) {
    case SD_DROP_SCOPE_GLOBAL:
        break;
    case SD_DROP_SCOPE_RANK:
        return pow(drop->rate[unit], drop->ranks);
    case SD_DROP_SCOPE_SAMPLE:
        return pow(drop->rate[unit], (double)images);
    }
    return drop->rate[unit];
}
