/* SPDX-License-Identifier: Apache-2.0 */
/* A rank's events within one step, in Chrome's trace format (chrome://tracing, ui.perfetto.dev).
 *
 * Local. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_TRACE_H
#define SDTRAIN_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/nn.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sd_lane { SD_LANE_COMPUTE, SD_LANE_LAYERS, SD_LANE_NETWORK, SD_LANES } sd_lane;
typedef struct sd_event {
    char name[SD_NAME_BYTES]; /* "": none */
    sd_lane lane;
    double begin, end; /* seconds since the origin */
    size_t bytes;      /* sent; 0: not given */
} sd_event;
typedef struct sd_trace {
    bool on;       /* false: sd_trace_add() has no effect */
    double origin; /* sd_clock_seconds() of a moment common to all ranks */
    sd_event *events;
    int n, capacity; /* further events are left out */
} sd_trace;
/* Allocates room for `capacity` events. SD_ERR_MEMORY; free it in any case. */
sd_status sd_trace_create(sd_trace *trace, int capacity);
void sd_trace_free(sd_trace *trace);
/* begin, end: of sd_clock_seconds(). name is copied. */
void sd_trace_add(sd_trace *trace, sd_lane lane, const char *name, double begin, double end, size_t bytes);
/* events: [ranks][events_a_rank]; a rank is a process, a lane a thread. */
sd_status sd_trace_write(const char *path, uint64_t step, const sd_event *events, int events_a_rank, int ranks,
                         const char *const *hosts);

#ifdef __cplusplus
}
#endif
#endif
