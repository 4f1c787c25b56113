/* SPDX-License-Identifier: Apache-2.0 */
/* Private to train/: what a rank spends its time on. Local. */
#ifndef SDTRAIN_TRAIN_TIMING_H
#define SDTRAIN_TRAIN_TIMING_H

/* X(ENUMERATOR, word): the phases in which a rank works, in the order of timing.csv's columns. Communication: until
 * sums are complete, once no rank computes any more. */
#define SD_WORK_PHASE_LIST(X)                                                                                          \
    X(DATA, data)                                                                                                      \
    X(FORWARD, forward)                                                                                                \
    X(BACKWARD, backward)                                                                                              \
    X(COMMUNICATION, communication)                                                                                    \
    X(OPTIMIZER, optimizer) X(EVALUATION, evaluation) X(CHECKPOINT, checkpoint)

/* And the wait for the slowest rank before it communicates. */
#define SD_PHASE_LIST(X) SD_WORK_PHASE_LIST(X) X(WAIT, wait)

typedef enum sd_phase {
#define SD_PHASE_ENUM(upper, lower) SD_PHASE_##upper,
    SD_PHASE_LIST(SD_PHASE_ENUM)
#undef SD_PHASE_ENUM
        SD_PHASE_TOTAL, /* wall time, kept beside the phases */
    SD_PHASES
} sd_phase;

typedef struct sd_timing {
    double seconds[SD_PHASES]; /* of the epoch under way */
    double counted_until;      /* clock: what is before it is in seconds[SD_PHASE_TOTAL] */
    double step_begin;         /* clock: end of the step before */
    double waited, stepped;    /* seconds: of waiting for slower ranks, and of all steps, since the program began */
} sd_timing;

/* From now on time counts. */
void sd_timing_begin(sd_timing *timing);

/* Brings the total up to now. */
void sd_timing_count(sd_timing *timing);

#endif
