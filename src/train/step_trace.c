/* SPDX-License-Identifier: Apache-2.0 */
/* log.trace: one step of all ranks, in one file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"

enum { WARM_STEPS = 2, OTHER_EVENTS = 16 };

static const char *const phase_names[] = {
#define PHASE_NAME(upper, lower) #lower,
    SD_PHASE_LIST(PHASE_NAME)
#undef PHASE_NAME
};

/* Better now than in the step that is traced. */
static sd_status check_place(const sd_config *config) {
    const char *const path = config->log.trace, *const slash = strrchr(path, '/');
    char folder[SD_CONFIG_TEXT];
    struct stat info;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (slash == path)
        snprintf(folder, sizeof folder, "/");
    if (stat(folder, &info) != 0 || faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0)
        return sd_config_fail(config, "log.trace", "%s cannot be written: %s: %s", path, folder, strerror(errno));
    if (!S_ISDIR(info.st_mode) || (lstat(path, &info) == 0 && !S_ISREG(info.st_mode)))
        return sd_config_fail(config, "log.trace", "%s cannot be written: it is %s", path,
                              S_ISLNK(info.st_mode)
                                  ? "a symbolic link, and files of a run are not written through links"
                                  : "not a file in a folder");
    return SD_OK;
}

sd_status sd_trace_prepare(sd_record *record, const sd_session *session, const sd_pipeline *pipeline,
                           const sd_network *network) {
    const int segments = sd_network_n_segments(network), shards = pipeline->shards_here;
    if (!session->config->log.trace[0])
        return SD_OK;
    if (sd_session_is_root(session))
        SD_TRY(check_place(session->config));
    return sd_trace_create(&record->trace, segments * (shards + 1) + 4 * shards + OTHER_EVENTS);
}

sd_status sd_trace_begin_step(sd_record *record, const sd_session *session, uint64_t step, uint64_t first_step) {
    const uint64_t wanted = (uint64_t)session->config->log.trace_step;
    if (!session->config->log.trace[0] || step != (wanted > 0 ? wanted : first_step + WARM_STEPS))
        return SD_OK;
    SD_TRY(sd_comm_agree(session->comm, SD_OK)); /* all ranks are here at once, but for the time of a message */
    record->trace.on = true;
    record->trace.n = 0;
    record->trace.origin = sd_clock_seconds();
    return SD_OK;
}

void sd_trace_phase(sd_record *record, sd_phase phase, double begin, double end) {
    if (phase == SD_PHASE_BACKWARD || phase == SD_PHASE_FORWARD)
        record->layer_begin = end; /* layers follow each other; the first begins where forward ends */
    sd_trace_add(&record->trace, SD_LANE_COMPUTE, phase_names[phase], begin, end, 0);
}

/* A segment is called after its decision unit, or after its first tensor ("fc.weight"). */
static const char *segment_name(const sd_network *network, int segment) {
    const int unit = sd_network_segment(network, segment)->unit;
    if (unit >= 0)
        return sd_network_unit(network, unit)->name;
    int i = 0;
    while (sd_network_tensor(network, i)->segment != segment)
        i++;
    return sd_network_tensor(network, i)->name;
}

void sd_trace_segment(sd_record *record, const sd_network *network, int segment) {
    if (!record->trace.on)
        return;
    const double now = sd_clock_seconds();
    sd_trace_add(&record->trace, SD_LANE_LAYERS, segment_name(network, segment), record->layer_begin, now, 0);
    record->layer_begin = now;
}

/* On rank 0. */
static sd_status write_trace(const sd_session *session, const sd_trace *trace, uint64_t step, const sd_event *events) {
    const int ranks = sd_comm_size(session->comm);
    const char *const path = session->config->log.trace;
    const char **hosts;
    SD_TRY(sd_alloc(&hosts, (size_t)ranks, sizeof *hosts));
    for (int rank = 0; rank < ranks; rank++)
        hosts[rank] = sd_comm_host_of(session->comm, rank);
    const sd_status status = sd_trace_write(path, step, events, trace->capacity, ranks, hosts);
    free(hosts);
    if (status != SD_OK) { /* nothing that training needs */
        sd_log_warn("%s; training goes on", sd_error_message());
        sd_error_clear();
    } else
        sd_log_info("%s: step %llu of %d rank%s, for chrome://tracing or ui.perfetto.dev", path,
                    (unsigned long long)step, ranks, ranks == 1 ? "" : "s");
    return SD_OK;
}

sd_status sd_trace_end_step(sd_record *record, const sd_session *session, const sd_trainer *trainer, uint64_t step) {
    sd_trace *trace = &record->trace;
    if (!trace->on)
        return SD_OK;
    sd_operation_record operation;
    for (int i = 0; sd_reducer_operation(trainer->reducer, i, &operation); i++)
        sd_trace_add(trace, SD_LANE_NETWORK, operation.name, operation.begin, operation.end, operation.bytes);
    trace->on = false;
    memset(trace->events + trace->n, 0, (size_t)(trace->capacity - trace->n) * sizeof *trace->events);

    const size_t ranks = (size_t)sd_comm_size(session->comm), bytes = (size_t)trace->capacity * sizeof *trace->events;
    const bool root = sd_session_is_root(session);
    sd_event *all = NULL;
    sd_status status = root ? sd_alloc(&all, ranks * (size_t)trace->capacity, sizeof *all) : SD_OK;
    status = sd_comm_agree(session->comm, status);
    if (status == SD_OK)
        status = sd_comm_gather(session->comm, trace->events, bytes, all);
    if (status == SD_OK && root)
        status = write_trace(session, trace, step, all);
    free(all);
    return sd_comm_agree(session->comm, status);
}
