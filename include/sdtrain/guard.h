/* SPDX-License-Identifier: Apache-2.0 */
/* What guards a process that trains for days: signals, the wall-clock budget, the lock of a run's folder, and the
 * watchdog. The room knows ranks and texts, and no run.
 *
 * Signals and the watchdog are of the process: one training thread at a time. */
#ifndef SDTRAIN_GUARD_H
#define SDTRAIN_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- signals (signals.c) ---- */

/* SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU ask a run to stop after the step under way, unless they are
 * ignored already; a second SIGINT ends the process. SIGPIPE and SIGXFSZ are ignored: the writes that cause them
 * fail instead. Local. */
void sd_signals_catch(void);

/* Whether a signal has asked this process to stop. Local. */
bool sd_stop_requested(void);

/* ---- the wall-clock budget (budget.c) ---- */

/* Longest so far, in seconds. What has not happened yet is guessed. Local. */
typedef struct sd_budget {
    double end; /* clock: when the program must have ended; INFINITY: whenever */
    double step, checkpoint, epoch_end;
    bool spent; /* on some rank: why the run stops */
} sd_budget;

/* max_seconds from the start of the program (0: no limit), or the end of its Slurm job (SLURM_JOB_END_TIME), whichever
 * comes first. state_bytes: of a checkpoint. */
void sd_budget_begin(sd_budget *budget, double max_seconds, size_t state_bytes);

/* Raises *longest to the seconds since begin. */
void sd_budget_note(double *longest, double begin);

/* Whether there is time left for a checkpoint only. */
bool sd_budget_is_over(const sd_budget *budget);

/* Whether the step that begins now must be the last, as after it and one more there would be no time left to save.
 * epoch_ends: with this step; scored: images that are scored then. batch: images of a step. */
bool sd_budget_spent(const sd_budget *budget, bool epoch_ends, uint64_t scored, uint64_t batch);

/* ---- one run at a time in a folder (lock.c) ---- */

typedef struct sd_lock sd_lock;
enum { SD_LOCK_SECONDS = 15 }; /* the longest that it takes to find out whether another run lives */

/* FOLDER/.lock, held by rank 0 (*lock is NULL elsewhere, and where nobody can write). Makes the folder; what it made
 * and is still empty goes with the release. Collective. Errors: SD_ERR_CONFIG names another run that is in the folder;
 * SD_ERR_IO if the folder cannot be made, or if nobody can tell whether another run lives. */
sd_status sd_lock_take(sd_comm *comm, const char *folder, sd_lock **lock);

/* Shows others that this run lives. false: another run has taken the folder over. Local. */
bool sd_lock_keep(sd_lock *lock);

void sd_lock_release(sd_lock **lock);

/* ---- the watchdog (watchdog.c) ---- */

/* Starts its thread. stall_seconds without a word of the training thread end the job; 0: never, and the thread only
 * keeps the lock. Collective. */
sd_status sd_watchdog_start(sd_comm *comm, double stall_seconds);

/* The training thread says where it is, in words that stay (step 0: at the start). Cheap enough for every layer.
 * Local. */
void sd_watch(const char *doing, uint64_t step);

/* A place that may take so many seconds more: one rank works on a large file, and the others wait for it. */
void sd_watch_slow(const char *doing, uint64_t step, double allowed_seconds);

/* Whom the thread asks where a reduction is, and what lock it keeps; NULL before they end. Local. */
void sd_watchdog_reducer(const sd_reducer *reducer);
void sd_watchdog_lock(sd_lock *lock);

void sd_watchdog_stop(void);

#ifdef __cplusplus
}
#endif
#endif
