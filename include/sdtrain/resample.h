/* SPDX-License-Identifier: Apache-2.0 */
/* Filter weights that give a row of samples another length: images, grids of position embeddings. Local.
 *
 * Output x of `out` is a weighted mean of the inputs around its centre:
 *
 *     scale     = (to - from) / out          widened = max(scale, 1)
 *     centre(x) = from + (x + 1/2) scale     weight(x, j) = filter((j + 1/2 - centre(x)) / widened) / sum over j
 *
 * over the inputs j that are both within `in` and within widened * support of the centre: the filter widens where the
 * row shrinks (antialiasing), and sees inputs beside [from, to).
 *
 * Bit for bit the weights of Pillow (Resample.c: Image.resize with box), and up to float rounding those of PyTorch's
 * F.interpolate(antialias=True, align_corners=False), which computes the same in float. Double arithmetic without
 * contraction: the same on every host. */
#ifndef SDTRAIN_RESAMPLE_H
#define SDTRAIN_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/choice.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bilinear: a triangle, support 1. Bicubic: Keys' kernel with a = -1/2, support 2. */
#define SD_FILTER_LIST(X)                                                                                              \
    X(SD_FILTER_BILINEAR, "bilinear")                                                                                  \
    X(SD_FILTER_BICUBIC, "bicubic")
typedef enum sd_filter { SD_FILTER_LIST(SD_CHOICE_ENUMERATOR) } sd_filter;
SD_CHOICE_WORD_OF(sd_filter, SD_FILTER_LIST)

enum {
    SD_RESAMPLE_MAX = 1 << 24, /* inputs, and outputs computed at a time: float holds whole numbers up to here */
    SD_RESAMPLE_BITS = 22,     /* behind the point, of weights in fixed point: Pillow's 32 - 8 - 2 */
};

typedef struct sd_resample_spec {
    sd_filter filter;
    int in;           /* inputs there are */
    float from, to;   /* the interval of them that becomes the output, 0 <= from < to <= in. Float, as Pillow's box */
    int out;          /* outputs that the interval becomes */
    int first, count; /* the outputs that are wanted */
} sd_resample_spec;

/* Weights of outputs first, ..., first + count - 1 of a spec, and their memory, which later ones use again. Begins as
 * {0}. */
typedef struct sd_resample {
    int count;
    int taps;       /* from an output's weights to the next's */
    int *begin;     /* [count] an output's first input; does not fall from one to the next */
    int *inputs;    /* [count] how many it has, 1..taps; begin + inputs does not fall either */
    double *weight; /* [count, taps] sum 1 over an output's inputs; 0 behind them */
    int32_t *fixed; /* [count, taps] weight * 2^SD_RESAMPLE_BITS, rounded half away from zero */
    void *memory;
    size_t capacity_bytes;
} sd_resample;

/* SD_ERR_DATA if the spec is not as above, SD_ERR_MEMORY. */
sd_status sd_resample_make(sd_resample *resample, const sd_resample_spec *spec);
void sd_resample_free(sd_resample *resample);

/* y[x][i] = sum over j of weight(x, j) x[j][i], summed in double. x: [in, elems] f32, in; y: [count, elems] f32, out.
 * Width and height of an [h, w, c] grid: h times with elems = c, then once with elems = w' c. */
void sd_resample_floats(const sd_resample *resample, const float *x, size_t elems, float *y);

#ifdef __cplusplus
}
#endif
#endif
