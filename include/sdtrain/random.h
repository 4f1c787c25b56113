/* SPDX-License-Identifier: Apache-2.0 */
/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
 * by the Random123 library.
 *
 * Local and stateless: a number is a pure function of (seed, stream, item, time), equal on all ranks and threads. There
 * is no generator state to save.
 *
 *     key     = (seed, stream)
 *     counter = (item low, item high, time low, time high)      32-bit words
 *
 * Item and time of each stream are listed below, and are part of the checkpoint format version. */
#ifndef SDTRAIN_RANDOM_H
#define SDTRAIN_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sd_stream {
    SD_STREAM_DROP = 1,        /* item: attempt << 32 | unit (from 0); time: step (from 1)           */
    SD_STREAM_INIT = 2,        /* item: element;                       time: tensor (place in table) */
    SD_STREAM_ORDER = 3,       /* item: place in the shuffle;          time: epoch (from 1)          */
    SD_STREAM_AUGMENT = 4,     /* item: draw / 4 << 32 | sample, word draw % 4; time: epoch (from 1) */
    SD_STREAM_SPLIT = 5,       /* item: place in the shuffle;          time: 0                       */
    SD_STREAM_SYNTHETIC = 6,   /* item: sample;                        time: draw within the sample  */
    SD_STREAM_DROPOUT = 7,     /* item: place in the batch x features; time: step (from 1)           */
    SD_STREAM_DROP_RANK = 8,   /* item: unit << 32 | rank / 4, word rank % 4;   time: step (from 1)  */
    SD_STREAM_DROP_SAMPLE = 9, /* item: unit << 32 | place / 4, word place % 4; time: step; place in the batch */
    /* item and word: sd_dropout (kernels.h); time: site << 32 | step (from 1) */
    SD_STREAM_KEEP = 13, /* item: place in the shuffle;          time: 0                       */
    SD_STREAM_HIDDEN_DROPOUT = 11,
} sd_stream;

typedef struct sd_random {
    uint32_t word[4];
} sd_random;

sd_random sd_random_at(uint32_t seed, uint32_t stream, uint64_t item, uint64_t time);

/* word * 2^-32, in [0, 1): exact in double. */
double sd_random_uniform(uint32_t word);

/* The first two words as one standard normal number (Box-Muller, in double). */
double sd_random_normal(sd_random random);

/* A uniformly distributed index in [0, n) from one word; n in 1..2^32. Its bias is below n * 2^-32. */
uint32_t sd_random_index(uint32_t word, uint64_t n);

/* Writes a permutation of 0..n-1 (Fisher-Yates) that depends on (seed, stream, time) alone. n below 2^32. */
void sd_random_permutation(uint32_t seed, uint32_t stream, uint64_t time, uint32_t *order, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
