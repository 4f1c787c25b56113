/* SPDX-License-Identifier: Apache-2.0 */
#include "timing.h"

#include "sdtrain/clock.h"

void sd_timing_begin(sd_timing *timing) { timing->counted_until = timing->step_begin = sd_clock_seconds(); }

void sd_timing_count(sd_timing *timing) {
    const double now = sd_clock_seconds();
    timing->seconds[SD_PHASE_TOTAL] += now - timing->counted_until;
    timing->counted_until = now;
}
