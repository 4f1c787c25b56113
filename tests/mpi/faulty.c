/* Linked into a copy of sdtrain-mpi (--wrap): faults that hardware or a bug might cause, on one rank and in one step.
 *
 *     SD_FAULT=seed:RANK:STEP    the rank draws its plan from another seed
 *     SD_FAULT=weight:RANK:STEP  a bit of one of its weights flips before the step
 *     SD_FAULT=sync:RANK:1       the disk does not take the rank's logs, so no checkpoint is even begun
 *     SD_FAULT=nap:RANK:MS       every step of the rank takes so many milliseconds longer */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdtrain/sdtrain.h"

void __real_sd_drop_plan_draw(const sd_drop_law *law, uint64_t step, uint64_t images, sd_drop_plan *plan);
void __wrap_sd_drop_plan_draw(const sd_drop_law *law, uint64_t step, uint64_t images, sd_drop_plan *plan);
uint64_t __real_sd_hash_plan(const sd_drop_law *law, uint64_t step, const sd_drop_plan *plan);
uint64_t __wrap_sd_hash_plan(const sd_drop_law *law, uint64_t step, const sd_drop_plan *plan);
const float *__real_sd_network_forward(sd_network *network, const sd_pass *pass, const float *images);
const float *__wrap_sd_network_forward(sd_network *network, const sd_pass *pass, const float *images);
sd_status __real_sd_csv_length(sd_csv *csv, uint64_t *bytes);
sd_status __wrap_sd_csv_length(sd_csv *csv, uint64_t *bytes);

/* The number of a fault of this kind on this rank, or -1. */
static long fault(const char *kind) {
    const char *wanted = getenv("SD_FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char name[16];
    int on;
    long number;
    if (!wanted || sscanf(wanted, "%15[^:]:%d:%ld", name, &on, &number) != 3 || strcmp(name, kind) != 0)
        return -1;
    return atoi(rank ? rank : "0") == on ? number : -1;
}

static sd_drop_law corrupted(const sd_drop_law *law, uint64_t step) {
    sd_drop_law other = *law;
    if (fault("seed") == (long)step)
        other.seed ^= 1;
    return other;
}

void __wrap_sd_drop_plan_draw(const sd_drop_law *law, uint64_t step, uint64_t images, sd_drop_plan *plan) {
    const sd_drop_law used = corrupted(law, step);
    __real_sd_drop_plan_draw(&used, step, images, plan);
}

uint64_t __wrap_sd_hash_plan(const sd_drop_law *law, uint64_t step, const sd_drop_plan *plan) {
    const sd_drop_law used = corrupted(law, step);
    return __real_sd_hash_plan(&used, step, plan);
}

const float *__wrap_sd_network_forward(sd_network *network, const sd_pass *pass, const float *images) {
    if (pass->training && fault("weight") == (long)pass->step) {
        uint32_t bits;
        float *value = &sd_network_values(network)[sd_network_buffer_elems(network) / 2];
        memcpy(&bits, value, sizeof bits);
        bits ^= 1; /* the lowest bit: no loss will show it */
        memcpy(value, &bits, sizeof bits);
    }
    if (pass->training && fault("nap") > 0)
        usleep((useconds_t)(1000 * fault("nap")));
    return __real_sd_network_forward(network, pass, images);
}

sd_status __wrap_sd_csv_length(sd_csv *csv, uint64_t *bytes) {
    return fault("sync") == 1 ? sd_fail(SD_ERR_IO, "the logs cannot be measured") : __real_sd_csv_length(csv, bytes);
}
