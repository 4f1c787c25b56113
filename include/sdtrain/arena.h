/* SPDX-License-Identifier: Apache-2.0 */
/* One block of memory, planned before the first step.
 *
 * Local. While a network is built, every layer reserves its buffers and says where the pointer shall go; commit
 * allocates one zeroed, 64-byte aligned block and fills the pointers in. After commit nothing is allocated any more.
 * The places given to reserve must stay where they are until commit. */
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

/* Allocates what was planned and fills in all places. SD_ERR_MEMORY if there is not that much. */
sd_status sd_arena_commit(sd_arena *arena);

/* Gives the block back; an arena of zeros is valid. */
void sd_arena_free(sd_arena *arena);

/* Aligned, zeroed floats outside an arena (free() gives them back). On failure *place is NULL. */
sd_status sd_alloc_floats(float **place, size_t elems);

/* Zeroed memory for count objects of object_bytes each (free() gives it back), with an error that says how much was
 * wanted. place: where the pointer goes; NULL on failure. */
sd_status sd_alloc(void *place, size_t count, size_t object_bytes);

/* Memory that this process holds now, 0 where the system does not say. */
size_t sd_resident_bytes(void);

/* Makes room for one more object in a growing array: *array (free() gives it back; NULL at first) holds count objects
 * and has room for *capacity. array: where the pointer is. */
sd_status sd_grow(void *array, int count, int *capacity, size_t object_bytes);

#ifdef __cplusplus
}
#endif
#endif
