/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/report.h"

static const double WORTH_A_WORD = 0.03; /* of the time of training */

sd_blame sd_blame_find(const double *waited, int ranks, double seconds) {
    sd_blame blame = {.rank = -1};
    int least = 0;
    double all = 0;
    for (int rank = 0; rank < ranks; rank++) {
        all += waited[rank];
        if (waited[rank] < waited[least])
            least = rank;
    }
    if (ranks < 2 || !(seconds > 0))
        return blame;
    const double others = (all - waited[least]) / (ranks - 1);
    blame.fraction = (others - waited[least]) / seconds;
    for (int rank = 0; rank < ranks; rank++) /* two that are slow together: none of them alone */
        if (rank != least && waited[rank] < others / 2)
            return blame;
    if (blame.fraction >= WORTH_A_WORD)
        blame.rank = least;
    return blame;
}
