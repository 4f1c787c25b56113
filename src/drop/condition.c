/* SPDX-License-Identifier: Apache-2.0 */
/* The law of plans that keep enough units: a sum of independent decisions with different probabilities
 * (Poisson-binomial), under a condition. */
#include <math.h>
#include <stdbool.h>

#include "sdtrain/drop.h"

enum { MOST_KEPT = 1024 };

/* The probability that at least k of the units are kept, not counting unit `without` (-1: all count). */
static double at_least(int units, int k, const double *threshold, int without) {
    double fewer[MOST_KEPT] = {1}, sum = 0; /* [j], j < k: the probability that just j of the units so far are kept */
    if (k <= 0)
        return 1;
    for (int unit = 0; unit < units; unit++) {
        if (unit == without)
            continue;
        const double p = threshold[unit];
        for (int j = k - 1; j > 0; j--)
            fewer[j] = fewer[j] * p + fewer[j - 1] * (1 - p);
        fewer[0] *= p;
    }
    for (int j = 0; j < k; j++)
        sum += fewer[j];
    return 1 - sum;
}

double sd_drop_condition(int units, int min_kept, const double *threshold, double *rate) {
    const bool possible = min_kept <= units && min_kept <= MOST_KEPT;
    const double enough = possible ? at_least(units, min_kept, threshold, -1) : 0;
    for (int i = 0; i < units && enough >= SD_DROP_RAREST; i++) {
        const double others = at_least(units, min_kept - 1, threshold, i); /* enough with i */
        const bool is_free = min_kept > 0 && threshold[i] > 0;
        rate[i] = is_free ? fmax(1 - (1 - threshold[i]) * others / enough, 0) : threshold[i];
    }
    return enough;
}
