/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/guard.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "sdtrain/clock.h"

/* Bytes a second: slow for a shared file system. Only the first checkpoint of a program is guessed by it. */
static const double SLOW_DISK = 50e6;
/* Seconds: summary.json, and the end of all ranks and of mpirun. */
static const double MARGIN = 2;

/* When the Slurm job of this process ends, which newer versions of Slurm tell; INFINITY if nobody does. */
static double slurm_end(double now) {
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *rest;
    const double seconds = text ? strtod(text, &rest) - (double)time(NULL) : INFINITY;
    if (!text || rest == text || *rest)
        return INFINITY;
    if (!(seconds > 0)) { /* left over from another job, or one that Slurm lets overrun */
        sd_log_warn("SLURM_JOB_END_TIME=%s is past and not heeded", text);
        return INFINITY;
    }
    return now + seconds;
}

void sd_budget_begin(sd_budget *budget, double max_seconds, size_t state_bytes) {
    *budget = (sd_budget){.end = slurm_end(sd_clock_seconds()), .checkpoint = (double)state_bytes / SLOW_DISK};
    if (max_seconds > 0)
        budget->end = fmin(budget->end, sd_clock_program_start() + max_seconds);
}

void sd_budget_note(double *longest, double begin) { *longest = fmax(*longest, sd_clock_seconds() - begin); }

bool sd_budget_is_over(const sd_budget *budget) {
    return sd_clock_seconds() + budget->step + budget->checkpoint + MARGIN > budget->end;
}

/* Asked when a step begins, as the answer rides on that step's sums; the next chance is a step later. So this step and
 * the next must fit, and the checkpoint at the end, and one that may be due between the two; at the end of an epoch the
 * scoring as well. Scoring an image takes no longer than training on it. */
bool sd_budget_spent(const sd_budget *budget, bool epoch_ends, uint64_t scored, uint64_t batch) {
    double needed = 2 * (budget->step + budget->checkpoint) + MARGIN;
    if (epoch_ends)
        needed += fmax(budget->epoch_end, budget->step * (double)scored / (double)batch);
    return sd_clock_seconds() + needed > budget->end;
}
