/* SPDX-License-Identifier: Apache-2.0 */
/* Private to dist/: gradients on the wire as bf16. */
#ifndef SDTRAIN_DIST_WIRE_H
#define SDTRAIN_DIST_WIRE_H

#include <stdint.h>
#include <string.h>

#include "sdtrain/nn.h"
#include "sdtrain/status.h"

/* bf16 is the upper half of a float, rounded to nearest, ties to even. Beyond the largest it is infinite, as IEEE 754
 * has it; every NaN becomes the same one, so that ranks hold the same bits. */
static inline uint16_t sd_bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t is_nan = -(uint32_t)((bits & 0x7fffffff) > 0x7f800000); /* a mask, so that loops become vectors */
    return (uint16_t)((rounded & ~is_nan) | (0x7fc0 & is_nan));
}

static inline float sd_bf16_value(uint16_t word) {
    const uint32_t bits = (uint32_t)word << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What a rank keeps beside its gradients to send them as bf16, with error feedback (Seide et al. 2014, section 2;
 * Karimireddy et al. 2019 show that SGD then converges as without compression):
 *
 *     g' = bf16(g + e);  e = (g + e) - g'
 *
 * The error e of a dropped branch waits for its next gradient; that of a step which is not used is restored. Sums
 * between ranks are rounded as well (sd_wire_add()), some log2(ranks) times on the way, and that is not fed back: no
 * rank could tell whose it was.
 *
 * The running statistics of batch norm stand between the gradients, but do not go with them. They are averages to
 * evaluate with, to which no later step gives back anything, so they are not rounded at all. All are complete before
 * the first gradient is: they travel in one piece, as floats, ahead of the buckets, in which zeros stand for them. */
typedef struct sd_wire {
    float *error;      /* laid out like gradients */
    float *previous;   /* likewise: of segments kept in the step under way, before it. NULL: no step is taken back */
    uint16_t *words;   /* likewise */
    float *statistics; /* of the step's kept segments, one after another */
    size_t statistics_elems, max_statistics_elems;
    size_t buffer_elems;
} sd_wire;

/* All local. A wire of zeros is valid, and free. restorable: keeps the error that a step begins with, one buffer
 * more. */
sd_status sd_wire_create(const sd_network *network, bool restorable, sd_wire *wire);
void sd_wire_free(sd_wire *wire);
size_t sd_wire_bytes(const sd_wire *wire);

/* v = gradient + error; words = bf16(v), error = v - words, or 0 where that is not finite. */
void sd_wire_compress(size_t n, const float *gradient, float *error, uint16_t *words);
/* sum += word, in float, rounded again. */
void sd_wire_add(size_t n, const uint16_t *words, uint16_t *sum);
void sd_wire_expand(size_t n, const uint16_t *words, float *gradient);
/* gradient += error, error = 0: where nothing is sent, as on the one rank that goes on with what several left. */
void sd_wire_flush_error(size_t n, float *gradient, float *error);

/* Notes the error of a segment before a step changes it; and brings back that of all segments that plan keeps.
 * Nothing unless restorable. */
void sd_wire_note_error(sd_wire *wire, const sd_segment *segment);
void sd_wire_restore_error(sd_wire *wire, const sd_network *network, const sd_drop_plan *plan);

/* Moves the statistics of segments that plan keeps out of the gradients, leaving zeros; and back. What part says was
 * not computed here counts as zeros. */
void sd_wire_take_statistics(sd_wire *wire, sd_network *network, const sd_drop_plan *plan, const sd_drop_part *part);
void sd_wire_return_statistics(const sd_wire *wire, sd_network *network, const sd_drop_plan *plan);

#endif
