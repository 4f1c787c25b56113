/* SPDX-License-Identifier: Apache-2.0 */
/* MPI calls are made by the caller, between its own work, or by a thread that does nothing else.
 *
 * Open MPI moves data only inside its calls (its issues 8436 and 13074); its maintainers advise a thread for transfers
 * that overlap with computation (2427). The thread shares a core with a computing thread, so it sleeps for
 * NAP_NANOSECONDS whenever nothing has moved. One mutex guards the handing over of calls and work. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "comm.h"
#include "sdtrain/arena.h"

enum { NAP_NANOSECONDS = 500000 };

struct sd_progress_thread {
    sd_comm *comm;
    pthread_t pthread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    sd_status (*call)(sd_comm *, void *); /* requested and not yet done */
    void *call_context;
    sd_outcome outcome;    /* of the last call */
    uint64_t wanted, done; /* requests for work; requests done */
    bool quit;
    atomic_bool awaited; /* the caller waits in sd_comm_finish_work() */
};

static void do_call(sd_progress_thread *thread) {
    pthread_mutex_unlock(&thread->mutex);
    const sd_status status = thread->call(thread->comm, thread->call_context);
    pthread_mutex_lock(&thread->mutex);
    sd_outcome_keep(&thread->outcome, status);
    thread->call = NULL;
    pthread_cond_broadcast(&thread->changed);
}

static void do_work(sd_progress_thread *thread) {
    const uint64_t wanted = thread->wanted;
    pthread_mutex_unlock(&thread->mutex);
    const bool finished = thread->comm->work(thread->comm->work_context);
    if (!finished && atomic_load_explicit(&thread->awaited, memory_order_relaxed))
        sched_yield(); /* the caller waits, so the core is free */
    else if (!finished)
        nanosleep(&(struct timespec){.tv_nsec = NAP_NANOSECONDS}, NULL);
    pthread_mutex_lock(&thread->mutex);
    if (finished) {
        thread->done = wanted;
        pthread_cond_broadcast(&thread->changed);
    }
}

static void *run(void *context) {
    sd_progress_thread *thread = context;
    prctl(PR_SET_TIMERSLACK, 1); /* nanoseconds: naps as short as asked for */
    pthread_mutex_lock(&thread->mutex);
    while (!thread->quit) {
        if (thread->call)
            do_call(thread);
        else if (thread->done < thread->wanted)
            do_work(thread);
        else
            pthread_cond_wait(&thread->changed, &thread->mutex);
    }
    pthread_mutex_unlock(&thread->mutex);
    return NULL;
}

sd_status sd_comm_start_thread(sd_comm *comm) {
    if (comm->thread || comm->size == 1)
        return SD_OK;
    if (comm->thread_level < MPI_THREAD_SERIALIZED)
        return sd_fail(SD_ERR_CONFIG,
                       "communication.progress: this MPI library allows no thread beside the first to call it "
                       "(MPI_THREAD_SERIALIZED); use poll");
    sd_progress_thread *thread;
    SD_TRY(sd_alloc(&thread, 1, sizeof *thread));
    thread->comm = comm;
    pthread_mutex_init(&thread->mutex, NULL);
    pthread_cond_init(&thread->changed, NULL);
    const int code = pthread_create(&thread->pthread, NULL, run, thread);
    if (code != 0) {
        free(thread);
        return sd_fail(SD_ERR_MEMORY, "a thread for communication could not be started: %s", strerror(code));
    }
    comm->thread = thread;
    return SD_OK;
}

void sd_progress_thread_stop(sd_progress_thread **place) {
    sd_progress_thread *thread = *place;
    if (!thread)
        return;
    pthread_mutex_lock(&thread->mutex);
    thread->quit = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
    pthread_join(thread->pthread, NULL);
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->mutex);
    free(thread);
    *place = NULL;
}

static sd_status call_here_or_there(sd_comm *comm, sd_status (*call)(sd_comm *, void *), void *context) {
    sd_progress_thread *thread = comm->thread;
    if (!thread)
        return call(comm, context);
    pthread_mutex_lock(&thread->mutex);
    thread->call_context = context;
    thread->call = call;
    pthread_cond_broadcast(&thread->changed);
    while (thread->call)
        pthread_cond_wait(&thread->changed, &thread->mutex);
    const sd_status status = sd_outcome_report(&thread->outcome);
    pthread_mutex_unlock(&thread->mutex);
    return status;
}

sd_status sd_comm_call(sd_comm *comm, const char *name, sd_status (*call)(sd_comm *, void *), void *context) {
    atomic_store_explicit(&comm->calling, name, memory_order_relaxed);
    const sd_status status = call_here_or_there(comm, call, context);
    atomic_store_explicit(&comm->calling, NULL, memory_order_relaxed);
    return status;
}

void sd_comm_set_work(sd_comm *comm, sd_work work, void *context) {
    comm->work = work;
    comm->work_context = context;
}

void sd_comm_drive(sd_comm *comm) {
    sd_progress_thread *thread = comm->thread;
    if (!thread) {
        comm->work(comm->work_context);
        return;
    }
    pthread_mutex_lock(&thread->mutex);
    thread->wanted++;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
}

void sd_comm_finish_work(sd_comm *comm) {
    sd_progress_thread *thread = comm->thread;
    if (!thread) {
        while (!comm->work(comm->work_context))
            sched_yield();
        return;
    }
    atomic_store(&thread->awaited, true);
    pthread_mutex_lock(&thread->mutex);
    while (thread->done < thread->wanted)
        pthread_cond_wait(&thread->changed, &thread->mutex);
    pthread_mutex_unlock(&thread->mutex);
    atomic_store(&thread->awaited, false);
}
