/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/progress.h"

sd_progress sd_progress_initial(void) {
#define INITIAL(type, member, initial, role) .member = (initial),
    return (sd_progress){SD_PROGRESS_LIST(INITIAL)};
#undef INITIAL
}
