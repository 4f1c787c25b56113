/* SPDX-License-Identifier: Apache-2.0 */
/* The progress of a run: the numbers that checkpoints hold beside tensors, and that reports show. Local. */
#ifndef SDTRAIN_PROGRESS_H
#define SDTRAIN_PROGRESS_H

#include <math.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Role of a member. Equal runs have equal STATE and FRACTION (a STATE in 0..1). A CIRCUMSTANCE (times, run id, log
 * lengths) may differ between them. */
typedef enum sd_progress_role { SD_PROGRESS_STATE, SD_PROGRESS_FRACTION, SD_PROGRESS_CIRCUMSTANCE } sd_progress_role;

/* X(type, member, initial, role), each of 8 bytes. NAN: no value yet. A member that an older checkpoint lacks is read
 * as its initial value: choose one with which such a run continues as before. */
#define SD_PROGRESS_LIST(X)                                                                                            \
    X(uint64_t, step, 0, STATE)         /* updates done */                                                             \
    X(uint64_t, epoch, 0, STATE)        /* epochs completed */                                                         \
    X(uint64_t, batch, 0, STATE)        /* batches done of the epoch under way */                                      \
    X(uint64_t, epoch_images, 0, STATE) /* partial sums of the epoch under way ... */                                  \
    X(uint64_t, epoch_masked, 0, STATE) /* their masked tokens (train.objective = mlm) */                              \
    X(uint64_t, epoch_correct, 0, STATE)                                                                               \
    X(double, epoch_loss, 0, STATE)                                                                                    \
    X(double, epoch_kept, 0, STATE) /* mean number of branches computed per image, summed over steps */                \
    X(uint64_t, epoch_decisions, 0, STATE)                                                                             \
    X(double, epoch_seconds, 0, CIRCUMSTANCE)                                                                          \
    X(uint64_t, images, 0, STATE) /* totals of the run ... */                                                          \
    X(double, kept, 0, STATE)                                                                                          \
    X(uint64_t, decisions, 0, STATE)                                                                                   \
    X(uint64_t, bytes_reduced, 0, CIRCUMSTANCE)                                                                        \
    X(uint64_t, bytes_full, 0, CIRCUMSTANCE)                                                                           \
    X(double, seconds, 0, CIRCUMSTANCE)                                                                                \
    X(uint64_t, skipped_steps, 0, STATE) /* steps without an update */                                                 \
    X(uint64_t, skipped_in_a_row, 0, STATE)                                                                            \
    X(double, train_loss, NAN, STATE) /* of the last epoch row ... */                                                  \
    X(double, train_accuracy, NAN, FRACTION)                                                                           \
    X(double, val_loss, NAN, STATE) /* infinite where logits overflow */                                               \
    X(double, val_accuracy, NAN, FRACTION)                                                                             \
    X(double, val_top5_accuracy, NAN, FRACTION)                                                                        \
    X(double, train_eval_accuracy, NAN, FRACTION)                                                                      \
    X(double, best_accuracy, NAN, FRACTION) /* of the best checkpoint */                                               \
    X(uint64_t, best_step, 0, STATE)                                                                                   \
    X(double, best_val_accuracy, NAN, FRACTION) /* of all epoch rows, and its row; 0: unknown */                       \
    X(uint64_t, best_val_epoch, 0, STATE)                                                                              \
    X(uint64_t, run_id, 0, CIRCUMSTANCE)          /* random, drawn when a run begins; 0: an older file */              \
    X(uint64_t, steps_csv_bytes, 0, CIRCUMSTANCE) /* lengths of the logs at this step; they hold times */              \
    X(uint64_t, epochs_csv_bytes, 0, CIRCUMSTANCE)                                                                     \
    X(uint64_t, timing_csv_bytes, 0, CIRCUMSTANCE)                                                                     \
    X(uint64_t, decisions_csv_bytes, 0, CIRCUMSTANCE)

typedef struct sd_progress {
#define SD_PROGRESS_MEMBER(type, member, initial, role) type member;
    SD_PROGRESS_LIST(SD_PROGRESS_MEMBER)
#undef SD_PROGRESS_MEMBER
} sd_progress;

/* What the epoch under way has predicted: its images, or their masked tokens. */
static inline uint64_t sd_progress_predictions(const sd_progress *p) {
    return p->epoch_masked > 0 ? p->epoch_masked : p->epoch_images;
}

/* Every member's initial value. */
sd_progress sd_progress_initial(void);

#ifdef __cplusplus
}
#endif
#endif
