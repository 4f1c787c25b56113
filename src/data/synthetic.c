/* SPDX-License-Identifier: Apache-2.0 */
/* Procedural images of coloured shapes: data without files, for first runs, timing and tests.
 *
 * The class is the form of the large figure (and, from the 11th class on, its hue). Its place, size, angle, colours,
 * the lighting, small figures and noise carry no class. An image is a pure function of (SEED, sample), independent of
 * the run's seed, so that runs with different seeds train on the same data. */
#include <math.h>
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/hash.h"
#include "sdtrain/random.h"
#include "source.h"

enum {
    SEED = 20160730,
    DEFAULT_SIZE = 32,
    DEFAULT_CLASSES = 10,
    DEFAULT_TRAIN = 2000,
    DEFAULT_TEST = 1000,
    FORMS = 10,
    CLUTTER = 5,
    MIN_SIZE = 8,
};
static const uint32_t TEST_OFFSET = 0x80000000u; /* test sample i is sample i + 2^31 */
static const float NOISE = 0.10f;                /* standard deviation, pixels in 0..1 */
static const float MEAN[SD_CHANNELS] = {0.5f, 0.5f, 0.5f}, DEVIATION[SD_CHANNELS] = {0.25f, 0.25f, 0.25f};

/* Random numbers of one image, in order of draws. */
typedef struct draws {
    uint32_t sample;
    uint64_t next;
} draws;

static float draw(draws *d, float low, float high) {
    uint64_t n = d->next++;
    sd_random random = sd_random_at(SEED, SD_STREAM_SYNTHETIC, d->sample, n / 4);
    return low + (high - low) * (float)sd_random_uniform(random.word[n % 4]);
}

typedef struct figure {
    int form;
    float x, y, radius, cosine, sine; /* centre, size and angle, in an image of [0, 1] x [0, 1] */
    float colour[SD_CHANNELS];
} figure;

/* Whether (u, v) lies in the figure, in units of the radius, in the figure's own axes. */
static bool inside(int form, float u, float v) {
    float r = u * u + v * v, a = fabsf(u), b = fabsf(v);
    switch (form) {
    case 0: /* disc */
        return r < 0.8f;
    case 1: /* square */
        return a < 0.8f && b < 0.8f;
    case 2: /* triangle */
        return v > -0.6f && v < 1.0f - 1.9f * a;
    case 3: /* ring */
        return r < 0.9f && r > 0.3f;
    case 4: /* cross */
        return (a < 0.3f && b < 0.95f) || (b < 0.3f && a < 0.95f);
    case 5: /* frame */
        return a < 0.85f && b < 0.85f && (a > 0.5f || b > 0.5f);
    case 6: /* half disc */
        return r < 1.0f && v > -0.1f;
    case 7: /* letter L */
        return a < 0.8f && b < 0.8f && (u < -0.25f || v < -0.25f);
    case 8: /* two bars */
        return b < 0.85f && a > 0.25f && a < 0.75f;
    default: /* four-pointed star */
        return sqrtf(a) + sqrtf(b) < 1.05f;
    }
}

/* hue in [0, 1): a saturated colour; value: brightness. */
static void set_colour(float hue, float value, float *colour) {
    for (int c = 0; c < SD_CHANNELS; c++)
        colour[c] = value * (0.55f + 0.45f * cosf(6.2831853f * (hue - (float)c / SD_CHANNELS)));
}

static figure draw_figure(draws *d, int form, float low_radius, float high_radius) {
    figure f = {.form = form};
    f.radius = draw(d, low_radius, high_radius);
    f.x = draw(d, f.radius, 1 - f.radius);
    f.y = draw(d, f.radius, 1 - f.radius);
    float angle = draw(d, -0.6f, 0.6f);
    f.cosine = cosf(angle);
    f.sine = sinf(angle);
    set_colour(draw(d, 0, 1), draw(d, 0.35f, 1.0f), f.colour);
    return f;
}

static bool covers(const figure *f, float x, float y) {
    float dx = (x - f->x) / f->radius, dy = (y - f->y) / f->radius;
    return dx * dx + dy * dy < 2 && inside(f->form, dx * f->cosine + dy * f->sine, dy * f->cosine - dx * f->sine);
}

static sd_status read_image(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    const int size = source->samples.image_size, classes = source->samples.classes;
    SD_TRY(sd_sample_resize(sample, size, size));
    uint8_t *pixels = sample->pixels;
    draws d = {.sample = test ? index + TEST_OFFSET : index};
    const int label = (int)(draw(&d, 0, 1) * (float)classes) % classes;

    figure figures[CLUTTER + 1];
    for (int i = 0; i < CLUTTER; i++)
        figures[i] = draw_figure(&d, (int)draw(&d, 0, FORMS), 0.06f, 0.14f);
    figures[CLUTTER] = draw_figure(&d, label % FORMS, 0.2f, 0.36f);
    const int hues = (classes + FORMS - 1) / FORMS;
    if (hues > 1)
        set_colour(((float)(label / FORMS) + draw(&d, 0.2f, 0.8f)) / (float)hues, 0.9f, figures[CLUTTER].colour);

    float corner[4][SD_CHANNELS]; /* background: bilinear between four colours */
    for (int i = 0; i < 4; i++)
        set_colour(draw(&d, 0, 1), draw(&d, 0.2f, 0.9f), corner[i]);

    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            float x = ((float)j + 0.5f) / (float)size, y = ((float)i + 0.5f) / (float)size;
            const figure *top = NULL; /* the large figure covers small ones */
            for (int k = 0; k <= CLUTTER; k++)
                if (covers(&figures[k], x, y))
                    top = &figures[k];
            for (int c = 0; c < SD_CHANNELS; c++) {
                float ground = (1 - y) * ((1 - x) * corner[0][c] + x * corner[1][c]) +
                               y * ((1 - x) * corner[2][c] + x * corner[3][c]);
                float noise = NOISE * 1.7320508f * draw(&d, -1, 1); /* uniform, of standard deviation NOISE */
                float value = 255 * ((top ? 0.8f * top->colour[c] + 0.2f * ground : ground) + noise);
                *pixels++ = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
        }
    sample->label = label;
    return SD_OK;
}

static void close_synthetic(sd_source *source) { free(source); }

static sd_sample_spec describe(const sd_data_spec *spec) {
    return (sd_sample_spec){.image_size = spec->image_size > 0 ? (int)spec->image_size : DEFAULT_SIZE,
                            .classes = spec->classes > 0 ? (int)spec->classes : DEFAULT_CLASSES};
}

static sd_status open_synthetic(const sd_data_spec *spec, sd_source **source) {
    if (spec->image_size > 0 && spec->image_size < MIN_SIZE)
        return sd_fail(SD_ERR_CONFIG,
                       "data.image_size: %lld is too small to see a shape; at least %d pixels are needed",
                       (long long)spec->image_size, MIN_SIZE);
    if (spec->classes == 1)
        return sd_fail(SD_ERR_CONFIG, "model.classes: 1 class leaves nothing to learn; at least 2 are needed");
    const int64_t train = (spec->train_samples > 0 ? spec->train_samples : DEFAULT_TRAIN) +
                          spec->validation; /* held-out images are further ones */
    const int64_t test = spec->val_samples > 0 ? spec->val_samples : DEFAULT_TEST;
    if (train >= TEST_OFFSET || test >= TEST_OFFSET)
        return sd_fail(SD_ERR_CONFIG, "data.%s: at most %u synthetic images can be made, not %lld",
                       train >= TEST_OFFSET ? "train_samples" : "val_samples", TEST_OFFSET - 1,
                       (long long)(train >= TEST_OFFSET ? train : test));
    SD_TRY(sd_alloc(source, 1, sizeof **source));
    **source = (sd_source){
        .samples = describe(spec),
        .n_train = (uint32_t)train,
        .n_test = (uint32_t)test,
        .mean = MEAN,
        .deviation = DEVIATION,
        .read = read_image,
        .close = close_synthetic,
    };
    const int of[] = {SEED, (*source)->samples.image_size, (*source)->samples.classes};
    (*source)->hash = sd_hash(of, sizeof of);
    return SD_OK;
}

const sd_source_kind sd_synthetic_source = {describe, open_synthetic, NULL};
