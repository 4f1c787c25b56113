/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into a copy of sdtrain-mpi (--wrap): faults that hardware or a bug might cause, on one rank and in one step.
 *
 *     SD_FAULT=seed:RANK:STEP    the rank draws its plan from another seed
 *     SD_FAULT=weight:RANK:STEP  a bit of one of its weights flips before the step
 *     SD_FAULT=sync:RANK:1       the disk does not take the rank's logs, so no checkpoint is even begun
 *     SD_FAULT=nap:RANK:MS       every step of the rank takes so many milliseconds longer
 *     SD_FAULT=slow:RANK:MS      so does every batch that it evaluates
 *     SD_FAULT=nan:RANK:STEP     a pixel of its images is not a number
 *     SD_FAULT=nans:RANK:STEP    the same from there on
 *     SD_FAULT=inf:RANK:STEP     the gradient it begins its backward pass with is infinite
 *     SD_FAULT=copy:RANK:0       its copy of the data set is another
 *     SD_FAULT=open:RANK:0       it does not see its data
 *     SD_FAULT=read:RANK:STEP    from that step on it cannot read its images; read.evaluation: those that it scores
 *     SD_FAULT=libm:RANK:0       its log, cos and pow round otherwise: initial weights and learning rates differ
 *     SD_FAULT=stop.PHASE:RANK:STEP, kill.PHASE:RANK:STEP    it is stopped (SIGSTOP), or killed, where PHASE begins:
 *                                open, data, forward, backward, optimizer, evaluation, checkpoint; in that step or
 *                                after it */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdtrain/sdtrain.h"

void __real_sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan);
void __wrap_sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan);
uint64_t __real_sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan);
uint64_t __wrap_sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan);
const float *__real_sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input);
const float *__wrap_sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input);
sd_status __real_sd_csv_length(sd_csv *csv, uint64_t *bytes);
sd_status __wrap_sd_csv_length(sd_csv *csv, uint64_t *bytes);

void __real_sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                                sd_segment_done done, void *context);
void __wrap_sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                                sd_segment_done done, void *context);
void __real_sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step);
void __wrap_sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step);
sd_status __real_sd_loader_next(sd_loader *loader, sd_batch *batch);
sd_status __wrap_sd_loader_next(sd_loader *loader, sd_batch *batch);
sd_status __real_sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset);
sd_status __wrap_sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset);
const float *__real_sd_dataset_mean(const sd_dataset *dataset);
const float *__wrap_sd_dataset_mean(const sd_dataset *dataset);
void __real_sd_network_initialise(sd_network *network, uint32_t seed);
void __wrap_sd_network_initialise(sd_network *network, uint32_t seed);
double __real_sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch);
double __wrap_sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch);
sd_status __real_sd_run_score(void *run, sd_split split, uint64_t n, void *score, bool *stopped);
sd_status __wrap_sd_run_score(void *run, sd_split split, uint64_t n, void *score, bool *stopped);
sd_status __real_sd_run_save(void *run, bool planned);
sd_status __wrap_sd_run_save(void *run, bool planned);

static uint64_t step_under_way; /* 0: before the first */
static bool scoring;

/* The number of a fault of this kind on this rank, or -1. */
static long fault(const char *kind) {
    const char *wanted = getenv("SD_FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char name[32];
    int on;
    long number;
    if (!wanted || sscanf(wanted, "%31[^:]:%d:%ld", name, &on, &number) != 3 || strcmp(name, kind) != 0)
        return -1;
    return atoi(rank ? rank : "0") == on ? number : -1;
}

static void reach(const char *phase) {
    static const struct {
        const char *kind;
        int signal;
    } ends[] = {{"stop", SIGSTOP}, {"kill", SIGKILL}};
    for (int i = 0; i < 2; i++) {
        char kind[32];
        snprintf(kind, sizeof kind, "%s.%s", ends[i].kind, phase);
        const long step = fault(kind);
        if (step >= 0 && step_under_way >= (uint64_t)step)
            raise(ends[i].signal);
    }
}

static sd_drop_spec corrupted(const sd_drop_spec *drop, uint64_t step) {
    sd_drop_spec other = *drop;
    if (fault("seed") == (long)step)
        other.seed ^= 1;
    return other;
}

void __wrap_sd_drop_plan_draw(const sd_drop_spec *drop, uint64_t step, uint64_t images, sd_drop_plan *plan) {
    const sd_drop_spec used = corrupted(drop, step);
    step_under_way = step;
    __real_sd_drop_plan_draw(&used, step, images, plan);
}

uint64_t __wrap_sd_drop_plan_hash(const sd_drop_spec *drop, uint64_t step, const sd_drop_plan *plan) {
    const sd_drop_spec used = corrupted(drop, step);
    return __real_sd_drop_plan_hash(&used, step, plan);
}

const float *__wrap_sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input) {
    if (pass->training && fault("weight") == (long)pass->step) {
        uint32_t bits;
        float *value = &sd_network_values(network)[sd_network_buffer_elems(network) / 2];
        memcpy(&bits, value, sizeof bits);
        bits ^= 1; /* the lowest bit: no loss will show it */
        memcpy(value, &bits, sizeof bits);
    }
    if (pass->training && fault("nap") > 0)
        usleep((useconds_t)(1000 * fault("nap")));
    if (!pass->training && fault("slow") > 0)
        usleep((useconds_t)(1000 * fault("slow")));
    static uint64_t spoilt; /* the first shard of a step, and no other */
    const bool now = fault("nan") == (long)pass->step || (fault("nans") >= 0 && fault("nans") <= (long)pass->step);
    if (pass->training && now && spoilt != pass->step) {
        spoilt = pass->step;
        ((float *)input->pixels)[0] = NAN;
    }
    reach("forward");
    return __real_sd_network_forward(network, pass, input);
}

sd_status __wrap_sd_csv_length(sd_csv *csv, uint64_t *bytes) {
    return fault("sync") == 1 ? sd_fail(SD_ERR_IO, "the logs cannot be measured") : __real_sd_csv_length(csv, bytes);
}

void __wrap_sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                                sd_segment_done done, void *context) {
    if (fault("inf") == (long)pass->step)
        dlogits[0] = INFINITY;
    reach("backward");
    __real_sd_network_backward(network, pass, input, dlogits, done, context);
}

void __wrap_sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step) {
    reach("optimizer");
    __real_sd_optimizer_step(optimizer, plan, lr, step);
}

sd_status __wrap_sd_loader_next(sd_loader *loader, sd_batch *batch) {
    reach("data");
    const sd_status status = __real_sd_loader_next(loader, batch);
    const long step = fault(scoring ? "read.evaluation" : "read");
    if (step >= 0 && step_under_way >= (uint64_t)step)
        return sd_fail(SD_ERR_DATA, "images/0042.jpg: is cut off");
    return status;
}

sd_status __wrap_sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset) {
    reach("open");
    if (fault("open") >= 0)
        return sd_fail(SD_ERR_NOINPUT, "images.bin: Stale file handle");
    return __real_sd_dataset_open(spec, dataset);
}

const float *__wrap_sd_dataset_mean(const sd_dataset *dataset) {
    static const float other[SD_CHANNELS] = {0.1f, 0.2f, 0.3f};
    return fault("copy") >= 0 ? other : __real_sd_dataset_mean(dataset);
}

void __wrap_sd_network_initialise(sd_network *network, uint32_t seed) {
    __real_sd_network_initialise(network, seed);
    if (fault("libm") >= 0)
        for (size_t i = 0; i < sd_network_buffer_elems(network); i += 2)
            sd_network_values(network)[i] = nextafterf(sd_network_values(network)[i], INFINITY);
}

double __wrap_sd_lr_at(const sd_lr_spec *spec, uint64_t epochs, uint64_t t, uint64_t steps_per_epoch) {
    const double lr = __real_sd_lr_at(spec, epochs, t, steps_per_epoch);
    return fault("libm") >= 0 ? (double)nextafterf((float)lr, INFINITY) : lr; /* as far apart as an update sees */
}

sd_status __wrap_sd_run_score(void *run, sd_split split, uint64_t n, void *score, bool *stopped) {
    reach("evaluation");
    scoring = true;
    const sd_status status = __real_sd_run_score(run, split, n, score, stopped);
    scoring = false;
    return status;
}

sd_status __wrap_sd_run_save(void *run, bool planned) {
    reach("checkpoint");
    return __real_sd_run_save(run, planned);
}
