/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <stdatomic.h>

#include "sdtrain/guard.h"

static struct {
    _Atomic(const char *) doing;
    _Atomic uint64_t step, beats;
    _Atomic double allowed;
} place;

void sd_watch_slow(const char *doing, uint64_t step, double allowed_seconds) {
    atomic_store_explicit(&place.doing, doing, memory_order_relaxed);
    atomic_store_explicit(&place.step, step, memory_order_relaxed);
    atomic_store_explicit(&place.allowed, allowed_seconds, memory_order_relaxed);
    /* One thread writes: an addition need not be one atomic step. */
    const uint64_t beats = atomic_load_explicit(&place.beats, memory_order_relaxed);
    atomic_store_explicit(&place.beats, beats + 1, memory_order_release);
}

void sd_watch(const char *doing, uint64_t step) { sd_watch_slow(doing, step, 0); }

sd_place sd_place_now(void) {
    const uint64_t beats = atomic_load_explicit(&place.beats, memory_order_acquire); /* first: the rest is as new */
    return (sd_place){.doing = atomic_load_explicit(&place.doing, memory_order_relaxed),
                      .step = atomic_load_explicit(&place.step, memory_order_relaxed),
                      .beats = beats,
                      .allowed = atomic_load_explicit(&place.allowed, memory_order_relaxed)};
}
