/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include "sdtrain/clock.h"

double sd_record_charge(sd_record *record, sd_phase phase, double begin) {
    const double now = sd_clock_seconds();
    record->timing.seconds[phase] += now - begin;
    sd_trace_phase(record, phase, begin, now);
    return now;
}
