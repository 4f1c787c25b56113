/* SPDX-License-Identifier: Apache-2.0 */
/* Private to guard/: where the training thread is, as sd_watch() says. Of the process, as signals are: it has one
 * training thread. */
#ifndef SDTRAIN_GUARD_PLACE_H
#define SDTRAIN_GUARD_PLACE_H

#include <stdint.h>

typedef struct sd_place {
    const char *doing;
    uint64_t step;
    uint64_t beats; /* how often the thread has said where it is */
    double allowed; /* seconds that this place may take beyond the limit */
} sd_place;

/* Any thread may ask. */
sd_place sd_place_now(void);

#endif
