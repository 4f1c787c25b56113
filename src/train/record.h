/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: what a run notes of itself while it trains: times, logs, a trace of one step, and the line on the
 * terminal. */
#ifndef SDTRAIN_TRAIN_RECORD_H
#define SDTRAIN_TRAIN_RECORD_H

#include "logs.h"
#include "pipeline.h"
#include "sdtrain/console.h"
#include "sdtrain/trace.h"
#include "timing.h"
#include "trainer.h"

typedef struct sd_record {
    sd_timing timing;
    sd_logs logs;       /* rank 0 */
    sd_console console; /* rank 0 */
    sd_trace trace;     /* of the step that log.trace asks for */
    double layer_begin; /* clock: where the layer under way backward began */
} sd_record;

/* Adds the seconds since begin to a phase, and to the trace; returns now. Local. */
double sd_record_charge(sd_record *record, sd_phase phase, double begin);

/* ---- log.trace (step_trace.c) ---- */

/* Whether the file can be written, and room for its events. Local; SD_ERR_CONFIG on rank 0. */
sd_status sd_trace_prepare(sd_record *record, const sd_session *session, const sd_pipeline *pipeline,
                           const sd_network *network);
/* Collective; nothing happens but in the step asked for. first_step: of this process. */
sd_status sd_trace_begin_step(sd_record *record, const sd_session *session, uint64_t step, uint64_t first_step);
sd_status sd_trace_end_step(sd_record *record, const sd_session *session, const sd_trainer *trainer, uint64_t step);
void sd_trace_phase(sd_record *record, sd_phase phase, double begin, double end);
/* The backward pass has just finished a segment. */
void sd_trace_segment(sd_record *record, const sd_network *network, int segment);

#endif
