/* SPDX-License-Identifier: Apache-2.0 */
/* decisions.csv: what every rank has decided, as it says itself. */
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "step.h"

enum { COUNT_BYTES = 21 }; /* of a number in the row, with what parts it from the next */

/* For how many images of a rank's share of the batch each unit is computed; drawn in pieces that trainer->part has room
 * for. */
static void count_share(sd_trainer *trainer, uint64_t step, uint64_t images, int rank, uint64_t *kept) {
    const sd_range share = sd_range_share(images, rank, trainer->drop.ranks);
    const uint64_t at_once = (uint64_t)trainer->part.max_images;
    memset(kept, 0, (size_t)trainer->plan.units * sizeof *kept);
    for (uint64_t done = 0; done < share.count; done += at_once) {
        const uint64_t rest = share.count - done;
        const sd_range piece = {share.first + done, rest < at_once ? rest : at_once};
        sd_drop_part_draw(&trainer->drop, step, rank, piece, &trainer->part);
        for (int i = 0; i < trainer->plan.units; i++)
            kept[i] += (uint64_t)trainer->part.images[i];
    }
}

/* A rank's decisions: the plan's images of each unit; unless all share the plan, those of its own share behind them. */
static void count_decisions(sd_trainer *trainer, uint64_t step, uint64_t images, int rank, uint64_t *counts) {
    memcpy(counts, trainer->plan.images, (size_t)trainer->plan.units * sizeof *counts);
    if (trainer->drop.scope != SD_DROP_SCOPE_GLOBAL)
        count_share(trainer, step, images, rank, counts + trainer->plan.units);
}

static sd_status compare(const sd_trainer *trainer, uint64_t step, int rank, const uint64_t *said,
                         const uint64_t *known, size_t n) {
    const size_t units = (size_t)trainer->plan.units;
    for (size_t i = 0; i < n; i++)
        if (said[i] != known[i])
            return sd_fail(SD_ERR_INTERNAL, "step %llu: rank %d decides otherwise than rank 0 about branch %zu (%s)",
                           (unsigned long long)step, rank, i % units + 1,
                           sd_network_unit(trainer->network, (int)(i % units))->name);
    return SD_OK;
}

/* global: a digit a unit; rank: such a string a rank, joined by '/'; sample: the images of each unit, joined by spaces.
 * all: [ranks][n], the counts of each rank, those of its own share at the end. */
static void write_kept(const sd_trainer *trainer, const uint64_t *all, size_t n, char *text) {
    const size_t units = (size_t)trainer->plan.units;
    const int ranks = trainer->drop.ranks, strings = trainer->drop.scope == SD_DROP_SCOPE_RANK ? ranks : 1;
    if (trainer->drop.scope == SD_DROP_SCOPE_SAMPLE) {
        for (size_t i = 0; i < units; i++) {
            uint64_t kept = 0;
            for (int r = 0; r < ranks; r++)
                kept += all[(size_t)r * n + units + i];
            text += sprintf(text, "%s%llu", i > 0 ? " " : "", (unsigned long long)kept);
        }
        return;
    }
    for (int r = 0; r < strings; r++) {
        if (r > 0)
            *text++ = '/';
        for (size_t i = 0; i < units; i++)
            *text++ = all[(size_t)r * n + n - units + i] > 0 ? '1' : '0';
    }
    *text = '\0';
}

/* known: [n], text: room for the row. */
static sd_status write_row(sd_trainer *trainer, sd_logs *logs, uint64_t step, uint64_t images, const uint64_t *all,
                           size_t n, uint64_t *known, char *text) {
    for (int r = 1; r < trainer->drop.ranks; r++) {
        count_decisions(trainer, step, images, r, known);
        SD_TRY(compare(trainer, step, r, all + (size_t)r * n, known, n));
    }
    write_kept(trainer, all, n, text);
    return sd_logs_decisions(logs, step, text);
}

sd_status sd_log_decisions(const sd_session *session, sd_trainer *trainer, sd_logs *logs, uint64_t step,
                           uint64_t images) {
    sd_comm *comm = session->comm;
    const size_t units = (size_t)trainer->plan.units, ranks = (size_t)sd_comm_size(comm);
    const size_t n = trainer->drop.scope == SD_DROP_SCOPE_GLOBAL ? units : 2 * units;
    const bool root = sd_session_is_root(session);
    uint64_t *mine = NULL, *all = NULL;
    char *text = NULL;
    sd_status status = sd_alloc(&mine, n, sizeof *mine);
    if (root && status == SD_OK)
        status = sd_alloc(&all, n * ranks, sizeof *all);
    if (root && status == SD_OK)
        status = sd_alloc(&text, (units + 1) * (ranks + COUNT_BYTES), 1);
    status = sd_comm_agree(comm, status);
    if (status == SD_OK) {
        count_decisions(trainer, step, images, sd_comm_rank(comm), mine);
        status = sd_comm_gather(comm, mine, n * sizeof *mine, all);
    }
    if (status == SD_OK)
        status = sd_comm_agree(comm, root ? write_row(trainer, logs, step, images, all, n, mine, text) : SD_OK);
    free(mine);
    free(all);
    free(text);
    return status;
}
