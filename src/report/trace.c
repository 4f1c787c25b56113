/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/trace.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/file.h"

static const char *const lane_names[] = {
    [SD_LANE_COMPUTE] = "compute", [SD_LANE_LAYERS] = "layers, backward", [SD_LANE_NETWORK] = "network"};

sd_status sd_trace_create(sd_trace *trace, int capacity) {
    *trace = (sd_trace){.capacity = capacity};
    return sd_alloc(&trace->events, (size_t)capacity, sizeof *trace->events);
}

void sd_trace_free(sd_trace *trace) {
    free(trace->events);
    memset(trace, 0, sizeof *trace);
}

void sd_trace_add(sd_trace *trace, sd_lane lane, const char *name, double begin, double end, size_t bytes) {
    if (!trace->on || trace->n == trace->capacity)
        return;
    sd_event *event = &trace->events[trace->n++];
    *event = (sd_event){.lane = lane, .begin = begin - trace->origin, .end = end - trace->origin, .bytes = bytes};
    snprintf(event->name, sizeof event->name, "%s", name);
}

/* The event that names a rank (lane < 0) or one of its lanes in viewers. */
static cJSON *name_of(int rank, int lane, const char *name) {
    cJSON *object = cJSON_CreateObject(), *arguments;
    cJSON_AddStringToObject(object, "name", lane < 0 ? "process_name" : "thread_name");
    cJSON_AddStringToObject(object, "ph", "M");
    cJSON_AddNumberToObject(object, "pid", rank);
    if (lane >= 0)
        cJSON_AddNumberToObject(object, "tid", lane);
    arguments = cJSON_AddObjectToObject(object, "args");
    cJSON_AddStringToObject(arguments, "name", name);
    return object;
}

static cJSON *to_json(int rank, const sd_event *event) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "name", event->name);
    cJSON_AddStringToObject(object, "ph", "X");
    cJSON_AddNumberToObject(object, "pid", rank);
    cJSON_AddNumberToObject(object, "tid", event->lane);
    cJSON_AddNumberToObject(object, "ts", 1e6 * event->begin);
    cJSON_AddNumberToObject(object, "dur", 1e6 * (event->end - event->begin));
    if (event->bytes > 0)
        cJSON_AddNumberToObject(cJSON_AddObjectToObject(object, "args"), "bytes", (double)event->bytes);
    return object;
}

sd_status sd_trace_write(const char *path, uint64_t step, const sd_event *events, int events_a_rank, int ranks,
                         const char *const *hosts) {
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "traceEvents");
    cJSON_AddStringToObject(object, "displayTimeUnit", "ms");
    cJSON_AddNumberToObject(object, "step", (double)step);
    for (int rank = 0; rank < ranks; rank++, events += events_a_rank) {
        char name[96];
        snprintf(name, sizeof name, "rank %d on %s", rank, hosts[rank]);
        cJSON_AddItemToArray(list, name_of(rank, -1, name));
        for (int lane = 0; lane < SD_LANES; lane++)
            cJSON_AddItemToArray(list, name_of(rank, lane, lane_names[lane]));
        for (int i = 0; i < events_a_rank; i++)
            if (events[i].name[0])
                cJSON_AddItemToArray(list, to_json(rank, &events[i]));
    }
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    sd_status status =
        text ? sd_file_put(path, text) : sd_fail(SD_ERR_MEMORY, "%s: out of memory while it is written", path);
    free(text);
    if (status != SD_OK) {
        char reason[1024];
        snprintf(reason, sizeof reason, "%s", sd_error_message());
        return sd_fail(status, "%s (the trace, log.trace)", reason);
    }
    return SD_OK;
}
