/* SPDX-License-Identifier: Apache-2.0 */
/* The number of kept units is a sum of independent decisions with different probabilities (Poisson-binomial); its
 * distribution by dynamic programming over the units. All terms are positive, so nothing cancels. */
#include <math.h>

#include "sdtrain/drop.h"

/* The probability that at least k of the units are kept, not counting unit `without` (-1: all count). */
static double at_least(int units, int k, const double *threshold, int without) {
    double fewer[SD_DROP_MOST_KEPT] = {1}; /* [j], j < k: the probability that just j of the units so far are kept */
    double enough = 0;
    if (k <= 0)
        return 1;
    for (int unit = 0; unit < units; unit++) {
        if (unit == without)
            continue;
        const double p = threshold[unit];
        enough += fewer[k - 1] * (1 - p);
        for (int j = k - 1; j > 0; j--)
            fewer[j] = fewer[j] * p + fewer[j - 1] * (1 - p);
        fewer[0] *= p;
    }
    return enough;
}

double sd_drop_condition(int units, int min_kept, const double *threshold, double *rate) {
    const double enough = min_kept <= SD_DROP_MOST_KEPT ? at_least(units, min_kept, threshold, -1) : 0;
    if (enough >= SD_DROP_RAREST)
        for (int i = 0; i < units; i++) /* i is dropped, and the others are enough */
            rate[i] = fmin(threshold[i] * at_least(units, min_kept, threshold, i) / enough, 1);
    return enough;
}
