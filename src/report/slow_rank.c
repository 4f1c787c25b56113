/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/summary.h"

static const double WORTH_A_WORD = 0.03; /* of the time of training */

sd_slow_rank sd_slow_rank_find(const double *waited, int ranks, double seconds) {
    sd_slow_rank slow = {.rank = -1};
    int least = 0;
    double all = 0;
    for (int rank = 0; rank < ranks; rank++) {
        all += waited[rank];
        if (waited[rank] < waited[least])
            least = rank;
    }
    if (ranks < 2 || !(seconds > 0))
        return slow;
    const double others = (all - waited[least]) / (ranks - 1);
    slow.fraction = (others - waited[least]) / seconds;
    for (int rank = 0; rank < ranks; rank++) /* two slow ranks: neither stands out */
        if (rank != least && waited[rank] < others / 2)
            return slow;
    if (slow.fraction >= WORTH_A_WORD)
        slow.rank = least;
    return slow;
}
