/* SPDX-License-Identifier: Apache-2.0 */
#include "folder.h"

#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/description.h"
#include "sdtrain/file.h"
#include "sdtrain/summary.h"

static sd_status write_config(const sd_session *session) {
    char path[SD_PATH_BYTES], *text;
    snprintf(path, sizeof path, "%s/config.ini", session->folders.run);
    SD_TRY(sd_config_text(session->config, &text));
    sd_status status = sd_file_put(path, text);
    free(text);
    return status;
}

/* classes.txt, if classes have names: line 1 is class 0. */
static sd_status write_classes(const sd_run *run) {
    char path[SD_PATH_BYTES], *names;
    SD_TRY(sd_pipeline_class_names(&run->pipeline, &names));
    if (!names)
        return SD_OK;
    snprintf(path, sizeof path, "%s/classes.txt", run->session.folders.run);
    const sd_status status = sd_file_put(path, names);
    free(names);
    return status;
}

/* What a killed run has left of files that it was writing. */
static void discard_parts(const sd_folders *folders) {
    static const char *const names[] = {"config.ini", "classes.txt", "bad_images.txt", "schedule.csv", "summary.json"};
    char path[SD_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folders->run, names[i]);
        sd_file_discard_part(path);
    }
    sd_checkpoint_discard_parts(folders->checkpoints);
}

static sd_status open_folder(sd_run *run) {
    const sd_session *session = &run->session;
    const sd_folders *folders = &session->folders;
    size_t made_from;
    SD_TRY(sd_file_make_folders(folders->checkpoints, &made_from));
    discard_parts(folders);
    SD_TRY(write_config(session));
    SD_TRY(write_classes(run));
    SD_TRY(sd_schedule_write(folders->run, run->trainer.network, &run->trainer.drop));
    return sd_logs_open(&run->record.logs, folders->run, &run->progress, session->config->log.decisions);
}

sd_status sd_run_open_folder(sd_run *run) {
    const sd_session *session = &run->session;
    return sd_comm_agree(session->comm, sd_session_is_root(session) ? open_folder(run) : SD_OK);
}

/* ---- summary.json ---- */

static sd_summary describe(const sd_run *run, const char *state) {
    const sd_session *session = &run->session;
    return (sd_summary){.run_folder = session->folders.run,
                        .host = sd_comm_host(session->comm),
                        .mpi = sd_comm_library(),
                        .isa = session->kernels->name,
                        .status = state,
                        .job = session->job,
                        .progress = &run->progress,
                        .ranks = sd_comm_size(session->comm),
                        .threads = session->threads,
                        .parameters = sd_network_parameters(run->trainer.network)};
}

/* On rank 0. waited: [ranks], seconds. */
static sd_status summarise(const sd_run *run, const char *state, const double *waited, FILE *to) {
    const sd_comm *comm = run->session.comm;
    sd_summary summary = describe(run, state);
    summary.waited_for = sd_slow_rank_find(waited, sd_comm_size(comm), run->record.timing.stepped);
    if (summary.waited_for.rank >= 0)
        summary.waited_for_host = sd_comm_host_of(comm, summary.waited_for.rank);
    const sd_status status = sd_summary_write(run->session.folders.run, &summary);
    sd_summary_print(to, &summary);
    return status;
}

sd_status sd_run_mark(const sd_run *run, const char *state) {
    const sd_summary summary = describe(run, state);
    return sd_session_is_root(&run->session) ? sd_summary_write(run->session.folders.run, &summary) : SD_OK;
}

sd_status sd_run_summarise(sd_run *run, const char *state, FILE *to) {
    sd_comm *comm = run->session.comm;
    const bool root = sd_session_is_root(&run->session);
    const double mine = run->record.timing.waited;
    double *waited = NULL;
    sd_watch("summary", run->progress.step);
    sd_status status = root ? sd_alloc(&waited, (size_t)sd_comm_size(comm), sizeof *waited) : SD_OK;
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_gather(comm, &mine, sizeof mine, waited));
    if (root)
        status = summarise(run, state, waited, to);
    free(waited);
    return sd_comm_agree(comm, status);
}
