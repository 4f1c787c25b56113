/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain-bench kernels: each layer's passes, the peak of the processor and OpenBLAS, measured in turn. */
#include <cblas.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peak.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/kernels.h"

enum { MAX_NAME_BYTES = 64, RESNET110_IMAGES = 64, RESNET50_IMAGES = 8, VIT_ROWS = 32 * 65 };
static const double SAMPLE_SECONDS = 0.015;

/* ---- the layers ---- */

typedef enum family { FAMILY_3X3, FAMILY_1X1, FAMILY_7X7, FAMILY_LINEAR, FAMILIES } family;
static const char *const family_names[FAMILIES] = {"3x3", "1x1", "7x7", "linear"};
static const char *const networks[] = {"resnet110", "resnet50", "vit_tiny"};
enum { N_NETWORKS = sizeof networks / sizeof networks[0] };

/* A linear layer stands as the 1x1 convolution of `images` images of one pixel: rows = images, in = c, out = k. */
typedef struct layer {
    const char *network;
    int count;        /* in the network */
    const char *part; /* of a linear layer, else NULL */
    sd_conv2d conv;
} layer;

#define CONV(network, n_images, times, size, pixels, in, out, step)                                                    \
    {                                                                                                                  \
        network, times, NULL, {                                                                                        \
            .images = n_images, .h = pixels, .w = pixels, .c = in, .k = out, .r = size, .s = size, .stride = step,     \
            .pad = size / 2                                                                                            \
        }                                                                                                              \
    }
#define RESNET110(...) CONV("resnet110", RESNET110_IMAGES, __VA_ARGS__)
#define RESNET50(...) CONV("resnet50", RESNET50_IMAGES, __VA_ARGS__)
#define VIT_TINY(part, in, out)                                                                                        \
    {                                                                                                                  \
        "vit_tiny", 12, part, { .images = VIT_ROWS, .h = 1, .w = 1, .c = in, .k = out, .r = 1, .s = 1, .stride = 1 }   \
    }

/* Times in the network, filter, pixels of the input, channels in and out, stride. */
static const layer layers[] = {
    RESNET110(1, 3, 32, 3, 16, 1),    RESNET110(36, 3, 32, 16, 16, 1),
    RESNET110(1, 3, 32, 16, 32, 2),   RESNET110(35, 3, 16, 32, 32, 1),
    RESNET110(1, 3, 16, 32, 64, 2),   RESNET110(35, 3, 8, 64, 64, 1),

    RESNET50(1, 7, 224, 3, 64, 2),    RESNET50(1, 1, 56, 64, 64, 1),
    RESNET50(3, 3, 56, 64, 64, 1),    RESNET50(4, 1, 56, 64, 256, 1), /* one is the shortcut's */
    RESNET50(2, 1, 56, 256, 64, 1),   RESNET50(1, 1, 56, 256, 128, 1),
    RESNET50(1, 3, 56, 128, 128, 2),  RESNET50(1, 1, 56, 256, 512, 2), /* shortcut */
    RESNET50(4, 1, 28, 128, 512, 1),  RESNET50(3, 1, 28, 512, 128, 1),
    RESNET50(3, 3, 28, 128, 128, 1),  RESNET50(1, 1, 28, 512, 256, 1),
    RESNET50(1, 3, 28, 256, 256, 2),  RESNET50(1, 1, 28, 512, 1024, 2), /* shortcut */
    RESNET50(6, 1, 14, 256, 1024, 1), RESNET50(5, 1, 14, 1024, 256, 1),
    RESNET50(5, 3, 14, 256, 256, 1),  RESNET50(1, 1, 14, 1024, 512, 1),
    RESNET50(1, 3, 14, 512, 512, 2),  RESNET50(1, 1, 14, 1024, 2048, 2), /* shortcut */
    RESNET50(3, 1, 7, 512, 2048, 1),  RESNET50(2, 1, 7, 2048, 512, 1),
    RESNET50(2, 3, 7, 512, 512, 1),

    VIT_TINY("qkv", 192, 576),        VIT_TINY("proj", 192, 192),
    VIT_TINY("fc1", 192, 768),        VIT_TINY("fc2", 768, 192),
};
enum { N_LAYERS = sizeof layers / sizeof layers[0] };

static family family_of(const layer *l) {
    if (l->part)
        return FAMILY_LINEAR;
    return l->conv.r == 1 ? FAMILY_1X1 : l->conv.r == 3 ? FAMILY_3X3 : FAMILY_7X7;
}

/* network/filter/pixels/in-out, and /s2 if strided. */
static void name_layer(const layer *l, char name[MAX_NAME_BYTES]) {
    if (l->part)
        snprintf(name, MAX_NAME_BYTES, "%s/%s/%d-%d", l->network, l->part, l->conv.c, l->conv.k);
    else
        snprintf(name, MAX_NAME_BYTES, "%s/%dx%d/%dpx/%d-%d%s", l->network, l->conv.r, l->conv.s, l->conv.h, l->conv.c,
                 l->conv.k, l->conv.stride > 1 ? "/s2" : "");
}

static bool is_wanted(const char *name, int n, const char *const *names) {
    for (int i = 0; i < n; i++)
        if (strstr(name, names[i]))
            return true;
    return n == 0;
}

/* The matrix product that a pass is: y[m,n] = patches[m,k] w[k,n]. */
typedef struct product {
    size_t m, n, k;
} product;

static product product_of(const sd_conv2d *conv) {
    return (product){.m = (size_t)conv->images * (size_t)sd_conv2d_out_h(conv) * (size_t)sd_conv2d_out_w(conv),
                     .n = (size_t)conv->k,
                     .k = (size_t)conv->r * (size_t)conv->s * (size_t)conv->c};
}

/* Of any of the three passes, by the direct algorithm; padding counts as if it were multiplied, as is usual. */
static double flops_of(const sd_conv2d *conv) {
    const product size = product_of(conv);
    return 2.0 * (double)size.m * (double)size.n * (double)size.k;
}

/* ---- what is timed ---- */

/* One layer's memory. out: where a pass writes; x, w, y are read only, so that their values stay what they are. */
typedef struct subject {
    const layer *layer;
    const sd_kernels *kernels;
    sd_conv2d conv;
    product size;
    float *x, *w, *y, *bias, *dbias, *dw, *out;
    sd_scratch scratch;
    sd_operand in, gradient;   /* x, y */
    float *patches, *blas_out; /* for OpenBLAS */
} subject;

static void forward(const subject *s) {
    if (s->layer->part)
        s->kernels->linear_forward(s->size.m, s->conv.c, s->conv.k, s->x, NULL, s->w, s->bias, s->out, NULL,
                                   s->scratch);
    else
        s->kernels->conv2d_forward(&s->conv, &s->in, s->w, s->out, NULL, s->scratch);
}

/* The first layer of a network passes no gradient on. */
static bool passes_gradient_on(const layer *l) { return l->conv.c > 3; }

static void backward(const subject *s) {
    if (s->layer->part) {
        s->kernels->linear_backward(s->size.m, s->conv.c, s->conv.k, s->x, NULL, s->y, NULL, s->w, s->out, NULL, s->dw,
                                    s->dbias, s->scratch);
    } else {
        s->kernels->conv2d_backward(&s->conv, &s->in, &s->gradient, s->w, s->dw,
                                    passes_gradient_on(s->layer) ? s->out : NULL, NULL, s->scratch);
    }
}

static void multiply(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                     float *c) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                (blasint)m, (blasint)n, (blasint)k, 1.0f, a, (blasint)(transpose_a ? m : k), b,
                (blasint)(transpose_b ? k : n), 0.0f, c, (blasint)n);
}

/* The same products with the patches given for nothing, weights lying as the layer has them: [k, n], or [n, k] if
 * linear. */
static void blas_forward(const subject *s) {
    multiply(false, s->layer->part != NULL, s->size.m, s->size.n, s->size.k, s->patches, s->w, s->blas_out);
}

static void blas_backward(const subject *s) {
    if (passes_gradient_on(s->layer))
        multiply(false, s->layer->part == NULL, s->size.m, s->size.k, s->size.n, s->y, s->w, s->blas_out);
    if (s->layer->part)
        multiply(true, false, s->size.n, s->size.k, s->size.m, s->y, s->patches, s->blas_out);
    else
        multiply(true, false, s->size.k, s->size.n, s->size.m, s->patches, s->y, s->blas_out);
}

typedef void pass_function(const subject *s);
enum { PASSES = 2 };
static const struct pass {
    const char *name;
    pass_function *ours, *blas;
} passes[PASSES] = {{"forward", forward, blas_forward}, {"backward", backward, blas_backward}};

/* FLOPs of a pass of a layer: backward is two products, one for the weights and one for the input. */
static double pass_flops(const layer *l, int pass) {
    return flops_of(&l->conv) * (passes[pass].ours == backward && passes_gradient_on(l) ? 2 : 1);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void subject_free(subject *s) {
    float *all[] = {s->x, s->w, s->y, s->bias, s->dbias, s->dw, s->out, s->scratch.memory, s->patches, s->blas_out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static sd_status new_input(float **x, size_t elems) {
    SD_TRY(sd_alloc_floats(x, elems));
    bench_fill(*x, elems);
    return SD_OK;
}

static sd_status subject_allocate(subject *s) {
    const size_t x_elems = (size_t)s->conv.images * (size_t)s->conv.h * (size_t)s->conv.w * (size_t)s->conv.c;
    const size_t w_elems = s->size.k * s->size.n, y_elems = s->size.m * s->size.n, patch_elems = s->size.m * s->size.k;
    SD_TRY(new_input(&s->x, x_elems));
    s->in = sd_plain(s->x);
    SD_TRY(sd_alloc_floats(&s->dw, w_elems));
    SD_TRY(new_input(&s->w, w_elems));
    SD_TRY(new_input(&s->y, y_elems));
    s->gradient = sd_plain(s->y);
    SD_TRY(new_input(&s->bias, s->size.n));
    SD_TRY(new_input(&s->patches, patch_elems));
    SD_TRY(sd_alloc_floats(&s->dbias, s->size.n));
    SD_TRY(sd_alloc_floats(&s->out, larger(larger(x_elems, w_elems), y_elems)));
    SD_TRY(sd_alloc_floats(&s->blas_out, larger(larger(patch_elems, w_elems), y_elems)));
    s->scratch.threads = sd_kernels_threads();
    return sd_alloc_floats(&s->scratch.memory,
                           larger(sd_conv2d_scratch_elems(&s->conv, s->scratch.threads),
                                  sd_linear_scratch_elems(s->conv.c, s->conv.k, s->scratch.threads)));
}

/* ---- samples: each lasts about SAMPLE_SECONDS ---- */

static double seconds_of(pass_function *run, const subject *s, int calls) {
    const double begin = sd_clock_seconds();
    for (int i = 0; i < calls; i++)
        run(s);
    return (sd_clock_seconds() - begin) / calls;
}

static int calls_of_a_sample(pass_function *run, const subject *s) {
    run(s); /* touches the memory */
    const double calls = SAMPLE_SECONDS / seconds_of(run, s, 1);
    return calls > 1 ? (int)calls : 1;
}

bench_peak bench_peak_ref, bench_peak_vec128;
#ifdef BENCH_HAVE_X86
bench_peak bench_peak_avx2, bench_peak_avx512;
#endif

static const struct peak_row {
    const char *isa;
    bench_peak *run;
} peak_rows[] = {
    {"ref", bench_peak_ref},
    {"vec128", bench_peak_vec128},
#ifdef BENCH_HAVE_X86
    {"avx2", bench_peak_avx2},
    {"avx512", bench_peak_avx512},
#endif
};

static bench_peak *peak_of(const char *isa) {
    for (size_t i = 0; i < sizeof peak_rows / sizeof peak_rows[0]; i++)
        if (!strcmp(peak_rows[i].isa, isa))
            return peak_rows[i].run;
    return NULL;
}

/* FLOP/s of so many turns. */
static double peak_rate(bench_peak *run, size_t turns) {
    static volatile float factor = 0.999f, addend = 0.001f; /* unknown to the compiler */
    float ignored;
    const double begin = sd_clock_seconds();
    const double flops = run(turns, factor, addend, &ignored);
    return flops / (sd_clock_seconds() - begin);
}

static size_t turns_of_a_sample(bench_peak *run) {
    const size_t turns = 100000;
    float ignored;
    peak_rate(run, turns); /* wakes the vector units */
    return (size_t)(SAMPLE_SECONDS * peak_rate(run, turns) / run(1, 0.5f, 0.5f, &ignored));
}

/* ---- rounds ---- */

/* Medians over rounds. share: of the peak. */
typedef struct result {
    double flop_per_s, share, blas_ratio;
} result;

typedef struct bench {
    const sd_kernels *kernels;
    bool direct;
    bench_peak *peak;
    size_t peak_turns;
    int rounds;
    double *speed, *share, *blas_ratio; /* [rounds], of the pass being measured */
    double lowest_peak, highest_peak;   /* FLOP/s, of all samples */
    result results[N_LAYERS][PASSES];   /* flop_per_s = 0: not measured */
} bench;

static result measure(bench *b, const subject *s, int which) {
    const struct pass *pass = &passes[which];
    const int calls = calls_of_a_sample(pass->ours, s), blas_calls = calls_of_a_sample(pass->blas, s);
    const double flops = pass_flops(s->layer, which);
    for (int round = 0; round < b->rounds; round++) {
        const double peak = peak_rate(b->peak, b->peak_turns);
        const double ours = flops / seconds_of(pass->ours, s, calls);
        const double blas = flops / seconds_of(pass->blas, s, blas_calls);
        b->speed[round] = ours;
        b->share[round] = ours / peak;
        b->blas_ratio[round] = ours / blas;
        b->highest_peak = peak > b->highest_peak ? peak : b->highest_peak;
        b->lowest_peak = b->lowest_peak == 0 || peak < b->lowest_peak ? peak : b->lowest_peak;
    }
    return (result){.flop_per_s = bench_spread_of(b->speed, b->rounds).median,
                    .share = bench_spread_of(b->share, b->rounds).median,
                    .blas_ratio = bench_spread_of(b->blas_ratio, b->rounds).median};
}

static sd_status measure_layer(bench *b, const layer *l, result results[PASSES]) {
    subject s = {.layer = l, .kernels = b->kernels, .conv = l->conv, .size = product_of(&l->conv)};
    s.conv.direct = b->direct;
    sd_status status = subject_allocate(&s);
    for (int pass = 0; status == SD_OK && pass < PASSES; pass++)
        results[pass] = measure(b, &s, pass);
    subject_free(&s);
    return status;
}

/* ---- the table ---- */

static void print_head(void) {
    printf("%-32s%6s%9s", "layer", "times", "MFLOP");
    for (int pass = 0; pass < PASSES; pass++)
        printf("   %23s", passes[pass].name);
    printf("\n%-32s%6s%9s", "", "", "a call");
    for (int pass = 0; pass < PASSES; pass++)
        printf("   %7s%8s%8s", "GF/s", "peak", "x BLAS");
    printf("\n");
}

static void print_layer(const char *name, const layer *l, const result results[PASSES]) {
    printf("%-32s%6d%9.1f", name, l->count, flops_of(&l->conv) * 1e-6);
    for (int pass = 0; pass < PASSES; pass++) {
        const result *r = &results[pass];
        if (r->flop_per_s > 0)
            printf("   %7.1f%6.1f %%%8.2f", r->flop_per_s * 1e-9, 100 * r->share, r->blas_ratio);
        else
            printf("   %7s%8s%8s", "-", "- ", "-");
    }
    printf("\n");
    fflush(stdout);
}

/* FLOPs of some layers, and the FLOPs that the processor could have done in their time. */
typedef struct total {
    double done, possible;
} total;

/* Of one pass of the measured layers of a family, in one network or (NULL) in all. */
static total total_of(const bench *b, family which, const char *network, int pass) {
    total sum = {0};
    for (int i = 0; i < N_LAYERS; i++) {
        const result *r = &b->results[i][pass];
        if (family_of(&layers[i]) != which || (network && strcmp(network, layers[i].network) != 0) || r->share == 0)
            continue;
        const double flops = layers[i].count * pass_flops(&layers[i], pass);
        sum.done += flops;
        sum.possible += flops / r->share;
    }
    return sum;
}

static void print_share(total sum) {
    if (sum.done > 0)
        printf("%17.1f %%", 100 * sum.done / sum.possible);
    else
        printf("%19s", "-");
}

static void print_totals(const char *name, const total of_pass[PASSES]) {
    total all = {0};
    for (int pass = 0; pass < PASSES; pass++) {
        all.done += of_pass[pass].done;
        all.possible += of_pass[pass].possible;
    }
    if (all.done == 0)
        return;
    printf("%-18s", name);
    for (int pass = 0; pass < PASSES; pass++)
        print_share(of_pass[pass]);
    print_share(all);
    printf("\n");
}

static void print_family(const bench *b, family which, const char *network) {
    total of_pass[PASSES];
    for (int pass = 0; pass < PASSES; pass++)
        of_pass[pass] = total_of(b, which, network, pass);
    char name[MAX_NAME_BYTES];
    snprintf(name, sizeof name, "%s%s%s", family_names[which], network ? " of " : "", network ? network : "");
    print_totals(name, of_pass);
}

static void print_all(const bench *b) {
    total of_pass[PASSES] = {{0}};
    for (int pass = 0; pass < PASSES; pass++)
        for (family which = 0; which < FAMILIES; which++) {
            const total part = total_of(b, which, NULL, pass);
            of_pass[pass].done += part.done;
            of_pass[pass].possible += part.possible;
        }
    print_totals("all", of_pass);
}

static void print_families(const bench *b) {
    printf(
        "\nshare of the peak, weighted by FLOPs: FLOPs of the layers above, each as often as its network has it, per\n"
        "FLOPs possible in their time\n%-18s",
        "");
    for (int pass = 0; pass < PASSES; pass++)
        printf("%19s", passes[pass].name);
    printf("%19s\n", "all passes");
    for (family which = 0; which < FAMILIES; which++) {
        print_family(b, which, NULL);
        if (which == FAMILY_3X3) /* the only one of more than one network */
            for (int n = 0; n < N_NETWORKS; n++)
                print_family(b, which, networks[n]);
    }
    print_all(b);
}

static sd_status measure_all(bench *b, int n, const char *const *names) {
    SD_TRY(sd_alloc(&b->speed, (size_t)b->rounds, sizeof *b->speed));
    SD_TRY(sd_alloc(&b->share, (size_t)b->rounds, sizeof *b->share));
    SD_TRY(sd_alloc(&b->blas_ratio, (size_t)b->rounds, sizeof *b->blas_ratio));
    b->peak_turns = turns_of_a_sample(b->peak);
    printf("%s kernels, one thread; OpenBLAS for %s; medians of %d rounds of peak, ours, OpenBLAS\n\n",
           b->kernels->name, openblas_get_corename(), b->rounds);
    print_head();
    for (int i = 0; i < N_LAYERS; i++) {
        char name[MAX_NAME_BYTES];
        name_layer(&layers[i], name);
        if (!is_wanted(name, n, names))
            continue;
        SD_TRY(measure_layer(b, &layers[i], b->results[i]));
        print_layer(name, &layers[i], b->results[i]);
    }
    print_families(b);
    printf("\npeak: %.1f to %.1f GF/s\n", b->lowest_peak * 1e-9, b->highest_peak * 1e-9);
    return SD_OK;
}

static sd_status check_names(int n, const char *const *names) {
    for (int i = 0; i < n; i++) {
        bool found = false;
        for (int j = 0; j < N_LAYERS; j++) {
            char name[MAX_NAME_BYTES];
            name_layer(&layers[j], name);
            found = found || strstr(name, names[i]);
        }
        if (!found)
            return sd_fail(SD_ERR_USAGE,
                           "no layer's name contains '%s'; names are like resnet110/3x3/32px/16-16, "
                           "resnet50/1x1/56px/256-512/s2 and vit_tiny/qkv/192-576",
                           names[i]);
    }
    return SD_OK;
}

sd_status bench_kernels(const char *isa, bool direct, int rounds, int n, const char *const *names) {
    bench b = {.direct = direct, .rounds = rounds};
    SD_TRY(check_names(n, names));
    SD_TRY(sd_kernels_select(isa, &b.kernels));
    sd_kernels_set_threads(1);
    b.peak = peak_of(b.kernels->name);
    if (!b.peak)
        return sd_fail(SD_ERR_INTERNAL, "there is no loop to measure the peak of %s", b.kernels->name);
    const sd_status status = measure_all(&b, n, names);
    free(b.speed);
    free(b.share);
    free(b.blas_ratio);
    return status;
}
