/* SPDX-License-Identifier: Apache-2.0 */
/* Where a run is: what checkpoints hold beside tensors, and what reports and tools tell. Local. */
#ifndef SDTRAIN_PROGRESS_H
#define SDTRAIN_PROGRESS_H

#include <math.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a member is. Two runs that train alike have the same STATE and FRACTIONs, which are in 0..1; a CIRCUMSTANCE is
 * how fast it came about, how it is called, and what is in its logs. */
typedef enum sd_progress_role { SD_PROGRESS_STATE, SD_PROGRESS_FRACTION, SD_PROGRESS_CIRCUMSTANCE } sd_progress_role;

/* X(type, member, initial, role): all of 8 bytes. NAN: no value yet. A member that is added later takes its initial
 * value from a file that was written before it, so that older checkpoints stay readable; choose one with which such a
 * run goes on as it would have. */
#define SD_PROGRESS_LIST(X)                                                                                            \
    X(uint64_t, step, 0, STATE)         /* updates done */                                                             \
    X(uint64_t, epoch, 0, STATE)        /* epochs completed */                                                         \
    X(uint64_t, batch, 0, STATE)        /* batches done of the epoch under way */                                      \
    X(uint64_t, epoch_images, 0, STATE) /* partial sums of the epoch under way ... */                                  \
    X(uint64_t, epoch_correct, 0, STATE)                                                                               \
    X(double, epoch_loss, 0, STATE)                                                                                    \
    X(double, epoch_kept, 0, STATE) /* branches computed for an image, on average: sum over steps */                   \
    X(uint64_t, epoch_decisions, 0, STATE)                                                                             \
    X(double, epoch_seconds, 0, CIRCUMSTANCE)                                                                          \
    X(uint64_t, images, 0, STATE) /* totals of the run ... */                                                          \
    X(double, kept, 0, STATE)                                                                                          \
    X(uint64_t, decisions, 0, STATE)                                                                                   \
    X(uint64_t, bytes_reduced, 0, CIRCUMSTANCE)                                                                        \
    X(uint64_t, bytes_full, 0, CIRCUMSTANCE)                                                                           \
    X(double, seconds, 0, CIRCUMSTANCE)                                                                                \
    X(uint64_t, skipped_steps, 0, STATE) /* of step: whose update was left out */                                      \
    X(uint64_t, skipped_in_a_row, 0, STATE)                                                                            \
    X(double, train_loss, NAN, STATE) /* of the last epoch row ... */                                                  \
    X(double, train_accuracy, NAN, FRACTION)                                                                           \
    X(double, val_loss, NAN, STATE) /* infinite where logits overflow */                                               \
    X(double, val_accuracy, NAN, FRACTION)                                                                             \
    X(double, val_top5_accuracy, NAN, FRACTION)                                                                        \
    X(double, train_eval_accuracy, NAN, FRACTION)                                                                      \
    X(double, best_accuracy, NAN, FRACTION) /* of the best checkpoint */                                               \
    X(uint64_t, best_step, 0, STATE)                                                                                   \
    X(double, best_val_accuracy, NAN, FRACTION) /* of all epoch rows, and its row; 0: older than what is known */      \
    X(uint64_t, best_val_epoch, 0, STATE)                                                                              \
    X(uint64_t, run_id, 0, CIRCUMSTANCE)          /* drawn where a history begins; 0: an older file */                 \
    X(uint64_t, steps_csv_bytes, 0, CIRCUMSTANCE) /* lengths of the logs at this moment; they hold times */            \
    X(uint64_t, epochs_csv_bytes, 0, CIRCUMSTANCE)                                                                     \
    X(uint64_t, timing_csv_bytes, 0, CIRCUMSTANCE)                                                                     \
    X(uint64_t, decisions_csv_bytes, 0, CIRCUMSTANCE)

typedef struct sd_progress {
#define SD_PROGRESS_MEMBER(type, member, initial, role) type member;
    SD_PROGRESS_LIST(SD_PROGRESS_MEMBER)
#undef SD_PROGRESS_MEMBER
} sd_progress;

/* Of a run that has not begun: every member's initial value. */
sd_progress sd_progress_initial(void);

#ifdef __cplusplus
}
#endif
#endif
