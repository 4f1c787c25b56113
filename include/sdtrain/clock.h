/* SPDX-License-Identifier: Apache-2.0 */
/* Wall-clock time for logs. Local. Never an input of a computation. */
#ifndef SDTRAIN_CLOCK_H
#define SDTRAIN_CLOCK_H

#ifdef __cplusplus
extern "C" {
#endif

/* Seconds of a clock that only moves forward; its zero is arbitrary. */
double sd_clock_seconds(void);

/* The same clock when this process began. */
double sd_clock_program_start(void);

#ifdef __cplusplus
}
#endif
#endif
