/* SPDX-License-Identifier: Apache-2.0 */
/* Measures the processor time of communication.wire = bf16. */
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/dist.h"
#include "wire.h"

enum { ELEMS = 4 << 20, ROUNDS = 3 }; /* more than caches hold */

static double least(double a, double b) { return a < b ? a : b; }

sd_status sd_wire_measure(sd_wire_seconds *seconds) {
    float *gradient = NULL, *error = NULL;
    uint16_t *words = NULL, *sum = NULL;
    sd_wire_seconds best = {1e9, 1e9, 1e9};
    sd_status status;
    SD_TRY_CLEANUP(sd_alloc_floats(&gradient, ELEMS));
    SD_TRY_CLEANUP(sd_alloc_floats(&error, ELEMS));
    SD_TRY_CLEANUP(sd_alloc(&words, ELEMS, sizeof *words));
    SD_TRY_CLEANUP(sd_alloc(&sum, ELEMS, sizeof *sum));
    memset(gradient, 0, ELEMS * sizeof *gradient); /* touched once before it is timed */
    memset(error, 0, ELEMS * sizeof *error);
    memset(words, 0, ELEMS * sizeof *words);
    memset(sum, 0, ELEMS * sizeof *sum);
    for (int i = 0; i < ROUNDS; i++) {
        const double begin = sd_clock_seconds();
        sd_wire_compress(ELEMS, gradient, error, words);
        const double compressed = sd_clock_seconds();
        sd_wire_add(ELEMS, words, sum);
        const double added = sd_clock_seconds();
        sd_wire_expand(ELEMS, sum, gradient);
        best.round = least(best.round, compressed - begin);
        best.add = least(best.add, added - compressed);
        best.expand = least(best.expand, sd_clock_seconds() - added);
    }
    *seconds = (sd_wire_seconds){best.round / ELEMS, best.add / ELEMS, best.expand / ELEMS};
cleanup:
    free(gradient);
    free(error);
    free(words);
    free(sum);
    return status;
}
