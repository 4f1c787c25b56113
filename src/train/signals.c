#include <signal.h>
#include <string.h>

#include "run.h"
#include "sdtrain/train.h"

static volatile sig_atomic_t requested;

static void on_signal(int number) {
    if (number == SIGINT && requested) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    requested = 1;
}

void sd_train_catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool sd_stop_requested(void) { return requested; }
