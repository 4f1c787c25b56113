/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -ffp-contract=off (CMakeLists.txt). */
#include "sdtrain/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

static double bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static const struct {
    double (*value)(double x);
    double support;
} filters[] = {
    [SD_FILTER_BILINEAR] = {bilinear, 1},
    [SD_FILTER_BICUBIC] = {bicubic, 2},
};

static sd_status check(const sd_resample_spec *spec) {
    if (spec->in < 1 || spec->in > SD_RESAMPLE_MAX)
        return sd_fail(SD_ERR_DATA, "a row of %d samples cannot be resampled: 1 to %d can", spec->in, SD_RESAMPLE_MAX);
    if (!(spec->from >= 0 && spec->from < spec->to && spec->to <= (float)spec->in))
        return sd_fail(SD_ERR_DATA, "the interval %g to %g is not one of a row of %d samples", (double)spec->from,
                       (double)spec->to, spec->in);
    if (spec->count < 1 || spec->count > SD_RESAMPLE_MAX || spec->first < 0 || spec->out < spec->count ||
        spec->first > spec->out - spec->count)
        return sd_fail(SD_ERR_DATA, "%d samples from %d on cannot be those of a row of %d, at most %d at a time",
                       spec->count, spec->first, spec->out, SD_RESAMPLE_MAX);
    return SD_OK;
}

/* Room for count outputs of `taps` weights. */
static sd_status reserve(sd_resample *resample, int count, int taps) {
    const size_t outputs = (size_t)count, weights = outputs * (size_t)taps;
    const size_t bytes = weights * (sizeof *resample->weight + sizeof *resample->fixed) +
                         outputs * (sizeof *resample->begin + sizeof *resample->inputs);
    if (bytes > resample->capacity_bytes) {
        sd_resample_free(resample);
        SD_TRY(sd_alloc(&resample->memory, bytes, 1));
        resample->capacity_bytes = bytes;
    }
    resample->count = count;
    resample->taps = taps;
    resample->weight = resample->memory;
    resample->fixed = (int32_t *)(resample->weight + weights);
    resample->begin = (int *)(resample->fixed + weights);
    resample->inputs = resample->begin + outputs;
    return SD_OK;
}

void sd_resample_free(sd_resample *resample) {
    free(resample->memory);
    *resample = (sd_resample){0};
}

/* weight[0..inputs): of the inputs from begin on. The operations and their order are Pillow's. */
static void make_weights(double (*filter)(double x), int begin, int inputs, double centre, double widened,
                         double *weight) {
    const double narrow = 1 / widened;
    double sum = 0;
    for (int i = 0; i < inputs; i++) {
        weight[i] = filter((i + begin - centre + 0.5) * narrow);
        sum += weight[i];
    }
    for (int i = 0; i < inputs; i++)
        weight[i] /= sum;
}

static int32_t to_fixed(double weight) {
    const double value = weight * (1 << SD_RESAMPLE_BITS);
    return (int32_t)(value < 0 ? value - 0.5 : value + 0.5);
}

sd_status sd_resample_make(sd_resample *resample, const sd_resample_spec *spec) {
    SD_TRY(check(spec));
    const float interval = spec->to - spec->from; /* rounded to float, as in Pillow */
    const double scale = (double)interval / spec->out, widened = scale < 1 ? 1 : scale;
    const double support = filters[spec->filter].support * widened;
    const int widest = (int)ceil(support) * 2 + 1;
    SD_TRY(reserve(resample, spec->count, widest < spec->in ? widest : spec->in));
    for (int x = 0; x < spec->count; x++) {
        const double centre = spec->from + (spec->first + x + 0.5) * scale;
        const int before = (int)(centre - support + 0.5), after = (int)(centre + support + 0.5);
        const int begin = before < 0 ? 0 : before, end = after > spec->in ? spec->in : after;
        double *weight = resample->weight + (size_t)x * (size_t)resample->taps;
        int32_t *fixed = resample->fixed + (size_t)x * (size_t)resample->taps;
        resample->begin[x] = begin;
        resample->inputs[x] = end - begin;
        make_weights(filters[spec->filter].value, begin, end - begin, centre, widened, weight);
        for (int i = end - begin; i < resample->taps; i++)
            weight[i] = 0;
        for (int i = 0; i < resample->taps; i++)
            fixed[i] = to_fixed(weight[i]);
    }
    return SD_OK;
}

void sd_resample_floats(const sd_resample *resample, const float *x, size_t elems, float *y) {
    for (int n = 0; n < resample->count; n++, y += elems) {
        const double *weight = resample->weight + (size_t)n * (size_t)resample->taps;
        const float *first = x + (size_t)resample->begin[n] * elems;
        for (size_t i = 0; i < elems; i++) {
            double sum = 0;
            for (int j = 0; j < resample->inputs[n]; j++)
                sum += weight[j] * first[(size_t)j * elems + i];
            y[i] = (float)sum;
        }
    }
}
