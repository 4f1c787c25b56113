/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"

sd_folders sd_folders_of(const sd_config *config) {
    sd_folders folders;
    snprintf(folders.run, sizeof folders.run, "%s/%s", config->run.output, config->run.name);
    snprintf(folders.checkpoints, sizeof folders.checkpoints, "%s/checkpoints", folders.run);
    return folders;
}

/* The best that all ranks have: the lowest of their choices, which are ordered from the plainest to the best. */
static sd_status choose_common(sd_session *session) {
    SD_TRY(sd_comm_agree(session->comm, sd_kernels_select(NULL, &session->kernels)));
    int mine = 0;
    while (sd_kernels_at(mine) != session->kernels)
        mine++;
    double lowest = -mine;
    SD_TRY(sd_comm_max(session->comm, &lowest, 1));
    session->kernels = sd_kernels_at((int)-lowest);
    return SD_OK;
}

static sd_status choose_kernels(sd_session *session, const char *isa) {
    const char *forced = getenv("SD_ISA");
    SD_TRY(choose_common(session));
    if (!isa || !strcmp(isa, session->kernels->name))
        return SD_OK;
    const sd_kernels *wanted;
    double missing = sd_kernels_select(isa, &wanted) != SD_OK || (forced && *forced); /* on any rank, for all */
    sd_error_clear();
    SD_TRY(sd_comm_max(session->comm, &missing, 1));
    if (missing == 0) {
        session->kernels = wanted;
        return SD_OK;
    }
    sd_log_warn(
        "the checkpoint was trained with %s kernels and goes on with %s: results stay right, but not bit for bit", isa,
        session->kernels->name);
    return SD_OK;
}

sd_status sd_session_open(sd_session *session, sd_comm *comm, const sd_config *config, const char *job,
                          const char *isa) {
    *session = (sd_session){.comm = comm, .config = config, .job = job, .folders = sd_folders_of(config)};
    SD_TRY(sd_threads_choose(comm, config, &session->threads));
    sd_kernels_set_threads(session->threads);
    return choose_kernels(session, isa);
}

bool sd_session_is_root(const sd_session *session) { return sd_comm_rank(session->comm) == 0; }
