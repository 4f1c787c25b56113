/* SPDX-License-Identifier: Apache-2.0 */
/* Private to dist/: gradients on the wire as bf16. */
#ifndef SDTRAIN_DIST_WIRE_H
#define SDTRAIN_DIST_WIRE_H

#include <stdint.h>
#include <string.h>

#include "sdtrain/nn.h"
#include "sdtrain/status.h"

/* bf16 is the upper half of a float, rounded to nearest, ties to even; overflow gives infinity (IEEE 754). All NaNs
 * become one, so that ranks hold the same bits. */
static inline uint16_t sd_bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t is_nan = -(uint32_t)((bits & 0x7fffffff) > 0x7f800000); /* a mask, no branch: loops vectorise */
    return (uint16_t)((rounded & ~is_nan) | (0x7fc0 & is_nan));
}

static inline float sd_bf16_value(uint16_t word) {
    const uint32_t bits = (uint32_t)word << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A rank's buffers for sending gradients g as bf16 with error feedback (Seide et al. 2014, section 2; with it SGD
 * converges as without compression: Karimireddy et al. 2019):
 *
 *     g' = bf16(g + e);  e = (g + e) - g'
 *
 * e is kept while the branch is dropped, and restored if the step is not used. Sums between ranks are rounded too,
 * about log2(ranks) times (sd_wire_add()); that error is not fed back, as it belongs to no rank.
 *
 * The batch-norm statistics among the gradients are not rounded, since no later step would correct them. All are
 * complete before the first gradient, so they are sent first, as one fp32 message; buckets hold zeros in their
 * place. */
typedef struct sd_wire {
    float *error;      /* laid out like gradients */
    float *previous;   /* the error before the step, of the segments that it keeps; NULL: not restorable */
    uint16_t *words;   /* laid out like gradients */
    float *statistics; /* of the step's kept segments, concatenated */
    size_t statistics_elems, max_statistics_elems;
    size_t buffer_elems;
} sd_wire;

/* All local. A zeroed wire is valid and owns no memory. restorable: keeps the error before the step, in one more
 * buffer. */
sd_status sd_wire_create(const sd_network *network, bool restorable, sd_wire *wire);
void sd_wire_free(sd_wire *wire);
size_t sd_wire_bytes(const sd_wire *wire);

/* v = gradient + error; words = bf16(v); error = v - words, or 0 if that is not finite. */
void sd_wire_compress(size_t n, const float *gradient, float *error, uint16_t *words);
/* sum = bf16(sum + words), added in fp32. */
void sd_wire_add(size_t n, const uint16_t *words, uint16_t *sum);
void sd_wire_expand(size_t n, const uint16_t *words, float *gradient);
/* gradient += error; error = 0: for one rank, which sends nothing but may resume a run of several ranks. */
void sd_wire_flush_error(size_t n, float *gradient, float *error);

/* Copies a segment's error before a step changes it; restores the error of all segments that the plan keeps. Without
 * effect unless restorable. */
void sd_wire_note_error(sd_wire *wire, const sd_segment *segment);
void sd_wire_restore_error(sd_wire *wire, const sd_network *network, const sd_drop_plan *plan);

/* Moves the statistics of kept segments, but for frozen ones, out of the gradients, leaving zeros; and back. Statistics
 * of branches that this rank did not compute (part) count as zeros. */
void sd_wire_take_statistics(sd_wire *wire, sd_network *network, const sd_drop_plan *plan, const sd_drop_part *part);
void sd_wire_return_statistics(const sd_wire *wire, sd_network *network, const sd_drop_plan *plan);

#endif
