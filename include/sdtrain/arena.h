/* SPDX-License-Identifier: Apache-2.0 */
/* One block of memory, planned before the first step.
 *
 * Local. While a network is built, every layer reserves its buffers and gives the address of each pointer; commit
 * allocates one zeroed, 64-byte aligned block and sets the pointers. Nothing is allocated after commit. The pointers
 * must not move before commit. */
#ifndef SDTRAIN_ARENA_H
#define SDTRAIN_ARENA_H

#include <stddef.h>

#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_arena_slot sd_arena_slot;

typedef struct sd_arena {
    unsigned char *base; /* aligned, within memory */
    void *memory;
    size_t bytes;
    sd_arena_slot *slots;
    int n_slots, capacity;
} sd_arena;

/* Plans elems floats; *place receives their address at commit. */
sd_status sd_arena_reserve(sd_arena *arena, float **place, size_t elems);

/* Allocates the block and sets all pointers. SD_ERR_MEMORY. */
sd_status sd_arena_commit(sd_arena *arena);

/* Frees the block; a zeroed arena is valid. */
void sd_arena_free(sd_arena *arena);

/* Aligned, zeroed floats outside an arena; caller frees *place with free(). NULL on failure. */
sd_status sd_alloc_floats(float **place, size_t elems);

/* Zeroed memory for count objects of object_bytes each; caller frees it with free(). place: address of the pointer,
 * which is NULL on failure. SD_ERR_MEMORY names the bytes. */
sd_status sd_alloc(void *place, size_t count, size_t object_bytes);

/* Resident memory of this process; 0 if unknown. */
size_t sd_resident_bytes(void);

/* Makes room for one more object in a growing array of count objects and room for *capacity. array: address of the
 * pointer (NULL at first); caller frees the array with free(). */
sd_status sd_grow(void *array, int count, int *capacity, size_t object_bytes);

#ifdef __cplusplus
}
#endif
#endif
