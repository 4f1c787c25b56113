/* SPDX-License-Identifier: Apache-2.0 */
/* log.trace: one step of all ranks, in one file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"
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

sd_status sd_run_prepare_trace(sd_run *run) {
    const int segments = sd_network_n_segments(run->network);
    if (!run->config->log.trace[0])
        return SD_OK;
    if (sd_comm_rank(run->comm) == 0)
        SD_TRY(check_place(run->config));
    return sd_trace_create(&run->trace, segments * (run->shards_here + 1) + 4 * run->shards_here + OTHER_EVENTS);
}

sd_status sd_run_begin_trace(sd_run *run, uint64_t step) {
    const uint64_t wanted = (uint64_t)run->config->log.trace_step;
    if (!run->config->log.trace[0] || step != (wanted > 0 ? wanted : run->first_step + WARM_STEPS))
        return SD_OK;
    SD_TRY(sd_comm_agree(run->comm, SD_OK)); /* all ranks are here at once, but for the time of a message */
    run->trace.on = true;
    run->trace.n = 0;
    run->trace.origin = sd_clock_seconds();
    return SD_OK;
}

void sd_run_trace_phase(sd_run *run, sd_phase phase, double begin, double end) {
    if (phase == SD_PHASE_BACKWARD || phase == SD_PHASE_FORWARD)
        run->layer_begin = end; /* layers follow each other; the first begins where forward ends */
    sd_trace_add(&run->trace, SD_LANE_COMPUTE, phase_names[phase], begin, end, 0);
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

void sd_run_trace_segment(sd_run *run, int segment) {
    if (!run->trace.on)
        return;
    const double now = sd_clock_seconds();
    sd_trace_add(&run->trace, SD_LANE_LAYERS, segment_name(run->network, segment), run->layer_begin, now, 0);
    run->layer_begin = now;
}

/* On rank 0. */
static sd_status write_trace(sd_run *run, uint64_t step, const sd_event *events) {
    const int ranks = sd_comm_size(run->comm);
    const char **hosts;
    SD_TRY(sd_alloc(&hosts, (size_t)ranks, sizeof *hosts));
    for (int rank = 0; rank < ranks; rank++)
        hosts[rank] = sd_comm_host_of(run->comm, rank);
    const sd_status status = sd_trace_write(run->config->log.trace, step, events, run->trace.capacity, ranks, hosts);
    free(hosts);
    if (status != SD_OK) { /* nothing that training needs */
        sd_log_warn("%s; training goes on", sd_error_message());
        sd_error_clear();
    } else
        sd_log_info("%s: step %llu of %d rank%s, for chrome://tracing or ui.perfetto.dev", run->config->log.trace,
                    (unsigned long long)step, ranks, ranks == 1 ? "" : "s");
    return SD_OK;
}

sd_status sd_run_end_trace(sd_run *run, uint64_t step) {
    sd_trace *trace = &run->trace;
    if (!trace->on)
        return SD_OK;
    sd_operation_record operation;
    for (int i = 0; sd_reducer_operation(run->reducer, i, &operation); i++)
        sd_trace_add(trace, SD_LANE_NETWORK, operation.name, operation.begin, operation.end, operation.bytes);
    trace->on = false;
    memset(trace->events + trace->n, 0, (size_t)(trace->capacity - trace->n) * sizeof *trace->events);

    const size_t ranks = (size_t)sd_comm_size(run->comm), bytes = (size_t)trace->capacity * sizeof *trace->events;
    const bool root = sd_comm_rank(run->comm) == 0;
    sd_event *all = NULL;
    sd_status status = root ? sd_alloc(&all, ranks * (size_t)trace->capacity, sizeof *all) : SD_OK;
    status = sd_comm_agree(run->comm, status);
    if (status == SD_OK)
        status = sd_comm_gather(run->comm, trace->events, bytes, all);
    if (status == SD_OK && root)
        status = write_trace(run, step, all);
    free(all);
    return sd_comm_agree(run->comm, status);
}
