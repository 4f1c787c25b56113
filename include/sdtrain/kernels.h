/* SPDX-License-Identifier: Apache-2.0 */
/* The numerical kernels: pure functions on float arrays, one table of them for each instruction set.
 *
 * Local. Images are NHWC and contiguous, x[n][h][w][c]; token sequences x[b][t][c] are the same with rows = b*t. A
 * matrix is row-major. "rows x c" below means any leading shape flattened. Outputs are written, never accumulated into,
 * unless said otherwise; outputs do not overlap inputs unless "may be" is said.
 *
 * Determinism: work is cut into chunks by shape alone and partial sums are added in a fixed order, so the bits of a
 * result depend on shape and table only, not on the number of threads.
 *
 * Threads: a kernel that takes scratch runs on at most the threads its scratch was taken for, the others on at most
 * sd_kernels_threads(). Calls from several threads at a time need scratch of their own each.
 *
 * No kernel fails, allocates, or keeps a pointer: shapes, at least 1 in each direction, are checked when a network is
 * built. */
#ifndef SDTRAIN_KERNELS_H
#define SDTRAIN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/batch.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Working memory of a kernel, and the most threads that share it. The caller takes and frees it: as many floats,
 * 64-byte aligned, as the kernel's scratch_elems() says for that number of threads, or more. Kernels that run one after
 * another may share it, for nothing is kept in it. The number belongs to the memory: sd_kernels_set_threads() does not
 * change it. */
typedef struct sd_scratch {
    float *memory;
    int threads; /* at least 1 */
} sd_scratch;

/* A tensor [rows, c] whose values are computed while they are read, never stored:
 *     value = a[c] u + b[c] v + d[c], then max(., 0) if relu.
 * Batch normalisation with its ReLU, its gradient, and the sum at the end of a residual block are of this form, so a
 * convolution can read the product of the one before it, and no normalised copy exists. */
typedef struct sd_operand {
    const float *u, *a; /* u: [rows, c]; a: [c], NULL for ones */
    const float *v, *b; /* v: [rows, c], NULL for nothing; b: [c], NULL for ones */
    const float *d;     /* [c], NULL for zeros */
    bool relu;          /* NaN stays NaN */
} sd_operand;

static inline sd_operand sd_plain(const float *u) { return (sd_operand){.u = u}; }

/* What becomes of a result y [rows, c] before it leaves the cache. What is NULL is left out; a forward pass asks for
 * the statistics, a backward pass for the rest, in this order. mean, variance, sum and sum_product are written; add,
 * mask and product are read, and do not overlap y. */
typedef struct sd_epilogue {
    float *mean, *variance;    /* statistics of y, the variance biased: [c] each */
    const float *add;          /* y += add */
    sd_operand mask;           /* y = a u + d > 0 ? y : 0, back through a ReLU (u NULL: none) */
    const float *product;      /* [rows, c], with product_mean: [c]: */
    const float *product_mean; /*   the sums a batch norm's gradient needs, */
    float *sum, *sum_product;  /*   sum y and sum y (product - product_mean): [c] each */
} sd_epilogue;

/* A two-dimensional convolution (cross-correlation, as in PyTorch) without bias:
 *     x: [images, h, w, c]   w: [r, s, c, k] (HWIO)   y: [images, oh, ow, k]
 *     y[n][p][q][o] = sum over i, j, ch of x[n][p*stride + i - pad][q*stride + j - pad][ch] * w[i][j][ch][o] */
typedef struct sd_conv2d {
    int images, h, w, c;
    int k, r, s;
    int stride, pad;
    bool direct; /* no transformed algorithm (Winograd), whose rounding errors are some ten times larger */
} sd_conv2d;

enum { SD_CONV2D_MAX_TAPS = 1024 }; /* r * s */

/* oh and ow. Less than 1 if the filter does not fit, which no kernel takes. */
int sd_conv2d_out_h(const sd_conv2d *conv);
int sd_conv2d_out_w(const sd_conv2d *conv);

/* Floats of scratch that both convolution passes need on so many threads; enough for fewer images, too, and for the
 * epilogue alone (sd_kernels.apply_epilogue) on x and on y. */
size_t sd_conv2d_scratch_elems(const sd_conv2d *conv, int threads);

/* What the linear kernels do to a matrix [rows, c] while they read or write it: v at row r, column j becomes
 *     SD_MAP_SCALE          scale v
 *     SD_MAP_ADD            other[r][j] + scale v
 *     SD_MAP_NORMALISE      (v - mean[r]) rstd[r] gamma[j] + beta[j]    layer normalisation, its statistics given
 *     SD_MAP_GELU           gelu(v)
 *     SD_MAP_GELU_BACKWARD  v gelu'(other[r][j])
 * so that what lies between two layers is never stored. other: [rows, c], overlapping no output; mean, rstd: [rows];
 * gamma, beta: [c]. A NULL map changes nothing. */
typedef enum sd_map_kind { SD_MAP_SCALE, SD_MAP_ADD, SD_MAP_NORMALISE, SD_MAP_GELU, SD_MAP_GELU_BACKWARD } sd_map_kind;

typedef struct sd_map {
    sd_map_kind kind;
    float scale;
    const float *other, *mean, *rstd, *gamma, *beta;
} sd_map;

/* Floats of scratch that both passes of the linear and of the attention kernels need on so many threads, whatever the
 * rows, images and heads. */
size_t sd_linear_scratch_elems(int in, int out, int threads);
size_t sd_attention_scratch_elems(int tokens, int head_dim, int threads);

/* Floats of scratch that apply_epilogue and layernorm_backward need for [rows, c], or fewer rows, on any number of
 * threads. */
size_t sd_norm_scratch_elems(size_t rows, int c);

typedef struct sd_kernels {
    const char *name; /* "ref", "vec128", "avx2", "avx512" */

    /* Convolution, and the gradients dx, dw of x, w given dy of y's shape. dx may be NULL. The epilogue is applied to
     * y, or to dx; NULL for none. 3x3 convolutions of stride 1 with 16 to 256 channels use Winograd's F(4x4, 3x3)
     * (Lavin & Gray 2016) unless `direct`. */
    void (*conv2d_forward)(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                           const sd_epilogue *epilogue, sd_scratch scratch);
    void (*conv2d_backward)(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                            float *dx, const sd_epilogue *epilogue, sd_scratch scratch);

    /* Stores the values of operand x: y[row][j] = a[j] u + b[j] v + d[j], and its ReLU. y may be x's u or v. */
    void (*store_operand)(size_t rows, int c, const sd_operand *x, float *y);
    /* The epilogue alone, in place. y: [rows, c]. */
    void (*apply_epilogue)(size_t rows, int c, float *y, const sd_epilogue *epilogue, sd_scratch scratch);

    /* Statistics of each row (Ba et al. 2016), kept for the normalisation (SD_MAP_NORMALISE) and the backward pass:
     * mean and rstd = 1 / sqrt(biased variance + epsilon), [rows] each. */
    void (*layernorm_statistics)(size_t rows, int c, const float *x, float epsilon, float *mean, float *rstd);
    /* Gradient through statistics and normalisation, dy being that of the normalised values: dx = add + ..., where add
     * may be dx, or NULL for nothing. x, dy, add, dx: [rows, c]; dgamma, dbeta: [c]. */
    void (*layernorm_backward)(size_t rows, int c, const float *x, const float *dy, const float *gamma,
                               const float *mean, const float *rstd, const float *add, float *dx, float *dgamma,
                               float *dbeta, sd_scratch scratch);

    /* y = scale * x. y may be x. */
    void (*scale)(size_t elems, float scale, const float *x, float *y);
    /* y += x. */
    void (*accumulate)(size_t elems, const float *x, float *y);

    /* y = map(x), x and y: [rows, c]; y may be x. GELU has the exact error function: x/2 (1 + erf(x / sqrt 2))
     * (Hendrycks & Gimpel 2016), to 2.4e-7 max(1, |x|), its derivative to 3.4e-7; infinities give the limits, NaN
     * stays NaN. */
    void (*map)(size_t rows, int c, const float *x, const sd_map *map, float *y);

    /* Linear layer, PyTorch's convention: x: [rows, in], w: [out, in], bias: [out],
     *     y = y_map(x_map(x) w^T + bias) */
    void (*linear_forward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *w,
                           const float *bias, float *y, const sd_map *y_map, sd_scratch scratch);
    /* dx = dx_map(dy_map(dy) w),  dw = dy_map(dy)^T x_map(x),  dbias = sum over rows of dy_map(dy). */
    void (*linear_backward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *dy,
                            const sd_map *dy_map, const float *w, float *dx, const sd_map *dx_map, float *dw,
                            float *dbias, sd_scratch scratch);

    /* Multi-head self-attention (Vaswani et al. 2017). qkv: [images, tokens, 3, heads, head_dim] as timm lays it out;
     * y, dy: [images, tokens, heads * head_dim]; dqkv as qkv. Probabilities are computed again by backward. */
    void (*attention_forward)(int images, int tokens, int heads, int head_dim, const float *qkv, float *y,
                              sd_scratch scratch);
    void (*attention_backward)(int images, int tokens, int heads, int head_dim, const float *qkv, const float *dy,
                               float *dqkv, sd_scratch scratch);

    /* 3x3 max pooling, stride 2, padding 1: x: [images, h, w, c] -> [images, (h+1)/2, (w+1)/2, c]. The gradient goes to
     * the first maximum in row order, as in PyTorch. */
    void (*maxpool_forward)(int images, int h, int w, int c, const float *x, float *y);
    void (*maxpool_backward)(int images, int h, int w, int c, const float *x, const float *dy, float *dx);
    /* Mean over all pixels: [images, pixels, c] -> [images, c]. */
    void (*avgpool_forward)(int images, int pixels, int c, const float *x, float *y);
    void (*avgpool_backward)(int images, int pixels, int c, const float *dy, float *dx);
    /* Parameter-free shortcut (He et al. 2016, option A): every stride-th pixel, zero channels appended:
     * [images, h, w, c] -> [images, ceil(h/stride), ceil(w/stride), k], k >= c. */
    void (*subsample_forward)(int images, int h, int w, int c, int stride, int k, const float *x, float *y);
    void (*subsample_backward)(int images, int h, int w, int c, int stride, int k, const float *dy, float *dx);

    /* Softmax cross entropy with label smoothing, as torch.nn.functional.cross_entropy. logits: [rows, classes];
     * targets: of rows, labels and others in [0, classes); 0 <= smoothing < 1; loss: [rows]; n_better: [rows], how many
     * classes score higher than the label's (never the other's), so the row is top-k correct if n_better < k. An equal
     * score of a class before the label counts as higher. A logit that is not finite, of whatever class, makes the
     * row wrong for every k: INT32_MAX. */
    void (*cross_entropy_forward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                  float smoothing, float *loss, int32_t *n_better);
    /* dlogits = scale * d(loss)/d(logits). */
    void (*cross_entropy_backward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                   float smoothing, float scale, float *dlogits);
} sd_kernels;

/* Batch normalisation (Ioffe & Szegedy 2015) of x [rows, c] as operands, a few numbers a channel; each array: [c].
 *     y = scale (gamma (x - mean) / sqrt(variance + epsilon) + beta)  =  a x + d */
void sd_batchnorm_forward(int c, const float *mean, const float *variance, float epsilon, const float *gamma,
                          const float *beta, float scale, float *a, float *d);
/* Its gradient, the statistics' part included, from sum dy and sum dy (x - mean) (sd_epilogue):  dx = a dy + b x +
 * d. */
void sd_batchnorm_backward(size_t rows, int c, const float *mean, const float *variance, float epsilon,
                           const float *gamma, float scale, const float *sum, const float *sum_product, float *dgamma,
                           float *dbeta, float *a, float *b, float *d);

/* The table for an instruction set by name; NULL asks for the best this processor has, or what the environment variable
 * SD_ISA names. SD_ERR_CONFIG if it is unknown or this processor lacks it. */
sd_status sd_kernels_select(const char *isa, const sd_kernels **kernels);

/* The tables, which are static, in rising order of preference ("ref" first), as a rank sees them: NULL past the last
 * this processor has. */
const sd_kernels *sd_kernels_at(int index);

/* Sets the most threads of kernels that take no scratch, and of networks built from now on; OpenBLAS gets one inside
 * each. For the calling thread, which is the one to build networks and run passes. */
void sd_kernels_set_threads(int threads);
/* What was set, or OpenMP's default (OMP_NUM_THREADS, else the processors of this process). */
int sd_kernels_threads(void);

#ifdef __cplusplus
}
#endif
#endif
