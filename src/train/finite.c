/* SPDX-License-Identifier: Apache-2.0 */
/* train.on_nonfinite. All ranks hold the same sums, so each finds the same without asking the others; only who it
 * was is asked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "sdtrain/arena.h"

enum { MAX_SKIPPED_IN_A_ROW = 100, RANKS_NAMED = 4 };

typedef struct report {
    char host[64];
    bool is_source; /* its own loss was not finite */
} report;

/* ", on rank 2 on HOST" of those whose own loss was not finite, on rank 0. */
static void name_ranks(const report *all, int ranks, char *names, size_t names_bytes) {
    int is_source = 0;
    size_t used = 0;
    names[0] = '\0';
    for (int rank = 0; rank < ranks; rank++)
        if (all[rank].is_source && is_source++ < RANKS_NAMED && used < names_bytes)
            used += (size_t)snprintf(names + used, names_bytes - used, "%s rank %d on %s",
                                     is_source == 1 ? ", on" : ",", rank, all[rank].host);
    if (is_source > RANKS_NAMED && used < names_bytes)
        snprintf(names + used, names_bytes - used, " and %d more", is_source - RANKS_NAMED);
}

/* What is not finite, where and on which ranks, in words on rank 0. Collective. */
static sd_status describe(sd_run *run, double loss, double loss_here, char *text, size_t text_bytes) {
    const size_t ranks = (size_t)sd_comm_size(run->comm);
    const bool root = sd_comm_rank(run->comm) == 0;
    const sd_tensor *tensor = sd_gradient_not_finite(run->network, &run->plan);
    char first[SD_NAME_BYTES + 32] = "", names[512] = "";
    report mine = {.is_source = !isfinite(loss_here)}, *all = NULL;
    snprintf(mine.host, sizeof mine.host, "%s", sd_comm_host(run->comm));
    SD_TRY(sd_comm_agree(run->comm, root ? sd_alloc(&all, ranks, sizeof *all) : SD_OK));
    const sd_status status = sd_comm_gather(run->comm, &mine, sizeof mine, all);
    if (root && status == SD_OK)
        name_ranks(all, (int)ranks, names, sizeof names);
    free(all);
    if (tensor)
        snprintf(first, sizeof first, ", first seen %s in %s",
                 tensor->kind == SD_TENSOR_STATISTIC ? "forward" : "backward", tensor->name);
    snprintf(text, text_bytes, "%s%s%s", isfinite(loss) ? "gradient" : "loss", first, names);
    return status;
}

sd_status sd_run_check_finite(sd_run *run, uint64_t step, double loss, double loss_here, bool *usable) {
    const sd_config *config = run->config;
    char what[768];
    *usable = isfinite(loss) && sd_gradients_are_finite(run->network, &run->plan);
    if (*usable) {
        run->progress.skipped_in_a_row = 0;
        return SD_OK;
    }
    SD_TRY(describe(run, loss, loss_here, what, sizeof what));
    run->progress.skipped_in_a_row++;
    if (config->train.on_nonfinite == SD_NONFINITE_SKIP &&
        run->progress.skipped_in_a_row < (uint64_t)MAX_SKIPPED_IN_A_ROW) {
        sd_log_warn("step %llu is skipped, as it is not finite: %s", (unsigned long long)step, what);
        return SD_OK;
    }
    char row[64] = "";
    if (config->train.on_nonfinite == SD_NONFINITE_SKIP)
        snprintf(row, sizeof row, ", the %dth in a row,", MAX_SKIPPED_IN_A_ROW);
    return sd_comm_agree(run->comm, sd_fail(SD_ERR_DIVERGED,
                                            "training diverged: step %llu%s is not finite: %s; lower lr.base (%g) or "
                                            "lengthen lr.warmup_epochs, and start again or from %s",
                                            (unsigned long long)step, row, what, config->lr.base, run->checkpoints));
}
