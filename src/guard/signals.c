/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/guard.h"

#include <signal.h>
#include <string.h>

/* What users, terminals that close, batch systems and limits on processor time send to end a process. */
static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};

/* Their default is to kill, where the call that they accompany says what happened: EPIPE of messages that nobody reads
 * any more (`| head`) is no reason to end, EFBIG of a file (`ulimit -f`) is dealt with as a full disk. */
static const int error_signals[] = {SIGPIPE, SIGXFSZ};

static volatile sig_atomic_t requested, interrupted;

static void on_signal(int number) {
    if (number == SIGINT && interrupted) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    interrupted = interrupted || number == SIGINT;
    requested = 1;
}

void sd_signals_catch(void) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof stop_signals / sizeof stop_signals[0]; i++)
        if (sigaction(stop_signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* as nohup's SIGHUP is */
            sigaction(stop_signals[i], &action, NULL);
    for (size_t i = 0; i < sizeof error_signals / sizeof error_signals[0]; i++)
        signal(error_signals[i], SIG_IGN);
}

bool sd_stop_requested(void) { return requested; }
