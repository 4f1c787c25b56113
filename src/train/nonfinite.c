/* SPDX-License-Identifier: Apache-2.0 */
/* train.on_nonfinite. All ranks hold the same sums, so each finds the same without asking the others; only who it
 * was is asked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "step.h"

enum { MAX_SKIPPED_IN_A_ROW = 100, RANKS_NAMED = 4 };

/* ", on rank 2 on HOST" of those whose own loss was not finite, on rank 0. nonfinite: [ranks]. */
static void name_ranks(const sd_comm *comm, const bool *nonfinite, char *names, size_t names_bytes) {
    int n = 0;
    size_t used = 0;
    names[0] = '\0';
    for (int rank = 0; rank < sd_comm_size(comm); rank++)
        if (nonfinite[rank] && n++ < RANKS_NAMED && used < names_bytes)
            used += (size_t)snprintf(names + used, names_bytes - used, "%s rank %d on %s", n == 1 ? ", on" : ",", rank,
                                     sd_comm_host_of(comm, rank));
    if (n > RANKS_NAMED && used < names_bytes)
        snprintf(names + used, names_bytes - used, " and %d more", n - RANKS_NAMED);
}

/* What is not finite, where and on which ranks, in words on rank 0. Collective. */
static sd_status describe(sd_comm *comm, const sd_trainer *trainer, double loss, double loss_here, char *text,
                          size_t text_bytes) {
    const bool root = sd_comm_rank(comm) == 0, mine = !isfinite(loss_here);
    const sd_tensor *tensor = sd_gradient_not_finite(trainer->network, &trainer->plan);
    char first[SD_NAME_BYTES + 32] = "", names[512] = "";
    bool *nonfinite = NULL;
    SD_TRY(sd_comm_agree(comm, root ? sd_alloc(&nonfinite, (size_t)sd_comm_size(comm), sizeof *nonfinite) : SD_OK));
    const sd_status status = sd_comm_gather(comm, &mine, sizeof mine, nonfinite);
    if (root && status == SD_OK)
        name_ranks(comm, nonfinite, names, sizeof names);
    free(nonfinite);
    if (tensor)
        snprintf(first, sizeof first, ", first seen %s in %s",
                 tensor->kind == SD_TENSOR_STATISTIC ? "forward" : "backward", tensor->name);
    snprintf(text, text_bytes, "%s%s%s", isfinite(loss) ? "gradient" : "loss", first, names);
    return status;
}

sd_status sd_check_finite(const sd_session *session, const sd_trainer *trainer, sd_progress *progress, double loss,
                          double loss_here, bool *usable) {
    const sd_config *config = session->config;
    const bool skip = config->train.on_nonfinite == SD_NONFINITE_SKIP;
    const unsigned long long step = progress->step + 1;
    char what[768], row[64] = "";
    *usable = isfinite(loss) && sd_gradients_are_finite(trainer->network, &trainer->plan);
    if (*usable) {
        progress->skipped_in_a_row = 0;
        return SD_OK;
    }
    SD_TRY(describe(session->comm, trainer, loss, loss_here, what, sizeof what));
    progress->skipped_in_a_row++;
    if (skip && progress->skipped_in_a_row < (uint64_t)MAX_SKIPPED_IN_A_ROW) {
        sd_log_warn("step %llu is skipped, as it is not finite: %s", step, what);
        return SD_OK;
    }
    if (skip)
        snprintf(row, sizeof row, ", the %dth in a row,", MAX_SKIPPED_IN_A_ROW);
    return sd_comm_agree(session->comm,
                         sd_fail(SD_ERR_DIVERGED,
                                 "training diverged: step %llu%s is not finite: %s; lower lr.base (%g) or "
                                 "lengthen lr.warmup_epochs, and start again or from %s",
                                 step, row, what, config->lr.base, session->folders.checkpoints));
}
