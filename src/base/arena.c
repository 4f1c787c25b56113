/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT_BYTES = 64 };

struct sd_arena_slot {
    float **place;
    size_t offset_bytes;
};

static size_t align_up(size_t bytes) { return (bytes + ALIGNMENT_BYTES - 1) / ALIGNMENT_BYTES * ALIGNMENT_BYTES; }

static sd_status no_memory(size_t bytes) {
    return sd_fail(SD_ERR_MEMORY,
                   "out of memory: %.1f MiB more were needed on this rank; use a smaller batch or more ranks",
                   (double)bytes / (1 << 20));
}

sd_status sd_arena_reserve(sd_arena *arena, float **place, size_t elems) {
    SD_TRY(sd_grow(&arena->slots, arena->n_slots, &arena->capacity, sizeof *arena->slots));
    if (elems > (SIZE_MAX - arena->bytes) / sizeof(float) - 2 * ALIGNMENT_BYTES)
        return no_memory(SIZE_MAX);
    arena->slots[arena->n_slots++] = (sd_arena_slot){place, arena->bytes};
    arena->bytes += align_up(elems * sizeof(float));
    return SD_OK;
}

/* Passes stream through the whole arena, many rows at a time. Pages of 4 KB would cost TLB misses and stop the
 * prefetcher at each border. Only advice: without huge pages nothing changes. */
static void ask_for_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)memory + page - 1) / page * page,
                    end = ((uintptr_t)memory + bytes) / page * page;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

sd_status sd_arena_commit(sd_arena *arena) {
    /* calloc's pages are zeroed, and taken only when touched: --check of a large network costs no memory. */
    SD_TRY(sd_alloc(&arena->memory, arena->bytes + ALIGNMENT_BYTES, 1));
    arena->base = (unsigned char *)(void *)align_up((uintptr_t)arena->memory);
    ask_for_huge_pages(arena->memory, arena->bytes);
    for (int i = 0; i < arena->n_slots; i++)
        *arena->slots[i].place = (float *)(void *)(arena->base + arena->slots[i].offset_bytes);
    free(arena->slots);
    arena->slots = NULL;
    arena->n_slots = arena->capacity = 0;
    return SD_OK;
}

void sd_arena_free(sd_arena *arena) {
    free(arena->memory);
    free(arena->slots);
    memset(arena, 0, sizeof *arena);
}

sd_status sd_alloc_floats(float **place, size_t elems) {
    *place = NULL;
    if (elems > SIZE_MAX / sizeof(float) - 2 * ALIGNMENT_BYTES)
        return no_memory(SIZE_MAX);
    size_t bytes = align_up(elems * sizeof(float) + 1);
    *place = aligned_alloc(ALIGNMENT_BYTES, bytes);
    if (!*place)
        return no_memory(bytes);
    memset(*place, 0, bytes);
    return SD_OK;
}

sd_status sd_alloc(void *place, size_t count, size_t object_bytes) {
    void *memory = calloc(count ? count : 1, object_bytes);
    memcpy(place, &memory, sizeof memory);
    return memory ? SD_OK : no_memory(count * object_bytes);
}

size_t sd_resident_bytes(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

sd_status sd_grow(void *array, int count, int *capacity, size_t object_bytes) {
    if (count < *capacity)
        return SD_OK;
    int wanted = *capacity ? 2 * *capacity : 16;
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = realloc(memory, (size_t)wanted * object_bytes);
    if (!memory)
        return no_memory((size_t)wanted * object_bytes);
    memcpy(array, &memory, sizeof memory);
    *capacity = wanted;
    return SD_OK;
}
