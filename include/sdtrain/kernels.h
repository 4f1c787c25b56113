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
 * Threads: a kernel with scratch runs on at most scratch.threads threads, any other on at most sd_kernels_threads().
 * Concurrent calls need separate scratch.
 *
 * No kernel fails, allocates, or keeps a pointer. All dimensions must be at least 1; building a network checks that. */
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

/* Working memory of a kernel, and the maximum of threads that use it. The caller allocates and frees it, 64-byte
 * aligned, of at least the kernel's scratch_elems() for that number of threads. Nothing is kept in it, so kernels that
 * run one after another may share it. sd_kernels_set_threads() does not change `threads`. */
typedef struct sd_scratch {
    float *memory;
    int threads; /* at least 1 */
} sd_scratch;

/* A tensor [rows, c] whose values are computed while they are read, and never stored:
 *     value = a[c] u + b[c] v + d[c], then max(., 0) if relu.
 * Batch norm with its ReLU, its gradient, and the sum at the end of a residual block have this form, so a convolution
 * reads the product of the previous one, without a normalised copy. */
typedef struct sd_operand {
    const float *u, *a; /* u: [rows, c]; a: [c], NULL: ones */
    const float *v, *b; /* v: [rows, c], NULL: zeros; b: [c], NULL: ones */
    const float *d;     /* [c], NULL: zeros */
    bool relu;          /* NaN stays NaN */
} sd_operand;

static inline sd_operand sd_plain(const float *u) { return (sd_operand){.u = u}; }

/* Operations on a result y [rows, c] while the cache holds it, in this order; NULL skips one. Forward passes use the
 * statistics, backward passes the rest. mean, variance, sum and sum_product are written; add, mask and product are
 * read, and do not overlap y. */
typedef struct sd_epilogue {
    float *mean, *variance;    /* statistics of y, biased variance: [c] each */
    const float *add;          /* y += add */
    sd_operand mask;           /* y = a u + d > 0 ? y : 0, the gradient of a ReLU (u NULL: none) */
    const float *product;      /* [rows, c], with product_mean: [c]: */
    const float *product_mean; /*   the two sums of a batch norm's gradient, */
    float *sum, *sum_product;  /*   sum y and sum y (product - product_mean): [c] each */
} sd_epilogue;

/* A two-dimensional convolution (cross-correlation, as in PyTorch) without bias:
 *     x: [images, h, w, c]   w: [r, s, c, k] (HWIO)   y: [images, oh, ow, k]
 *     y[n][p][q][o] = sum over i, j, ch of x[n][p*stride + i - pad][q*stride + j - pad][ch] * w[i][j][ch][o] */
typedef struct sd_conv2d {
    int images, h, w, c;
    int k, r, s;
    int stride, pad;
    bool direct; /* no Winograd, whose rounding errors are about ten times larger */
} sd_conv2d;

enum { SD_CONV2D_MAX_TAPS = 1024 }; /* r * s */

/* oh and ow. Less than 1 if the filter does not fit, which kernels do not support. */
int sd_conv2d_out_h(const sd_conv2d *conv);
int sd_conv2d_out_w(const sd_conv2d *conv);

/* Floats of scratch for both convolution passes on `threads` threads; also enough for fewer images, and for
 * sd_kernels.apply_epilogue on x and on y. */
size_t sd_conv2d_scratch_elems(const sd_conv2d *conv, int threads);

/* Dropout (Srivastava et al. 2014) of a tensor [images, rows, columns]: drop(v) = 0 with probability `rate`, else
 * v / (1 - rate). What is kept is a pure function of the fields, so that forward and backward agree, and all ranks:
 * of image i, the value at row r and column j is kept if sd_random_uniform() of word j / 16 % 4 of
 *     sd_random_at(seed, SD_STREAM_HIDDEN_DROPOUT, place << 32 | r << 16 | (j / 64 * 16 + j % 16), site << 32 | step)
 * is at least `rate`, where place = first_image + (places ? places[i] : i). At most 65536 rows, 262144 columns. */
typedef struct sd_dropout {
    float rate; /* in [0, 1); 0: no dropout, and nothing else is read */
    uint32_t seed;
    uint64_t step;          /* below 2^32 */
    uint32_t site;          /* which of the network's dropouts */
    uint64_t first_image;   /* place of the pass's image 0 in the global batch */
    const uint32_t *places; /* [images], from first_image on; NULL: 0, 1, 2, ... */
} sd_dropout;

/* A map of a matrix [rows, c], applied while linear kernels read or write it: v at row r, column j becomes
 *     SD_MAP_SCALE          scale drop(v)
 *     SD_MAP_ADD            other[r][j] + scale drop(v)
 *     SD_MAP_NORMALISE      (v - mean[r]) rstd[r] gamma[j] + beta[j]    layer norm with given statistics
 *     SD_MAP_GELU           gelu(v)
 *     SD_MAP_GELU_BACKWARD  v gelu'(other[r][j])
 *     SD_MAP_TANH           tanh(v)
 *     SD_MAP_TANH_BACKWARD  v (1 - other[r][j]^2)    other: results of SD_MAP_TANH
 * so that values between two layers are never stored. other: [rows, c], overlapping no output; mean, rstd: [rows];
 * gamma, beta: [c]. NULL is the identity. */
typedef enum sd_map_kind {
    SD_MAP_SCALE,
    SD_MAP_ADD,
    SD_MAP_NORMALISE,
    SD_MAP_GELU,
    SD_MAP_GELU_BACKWARD,
    SD_MAP_TANH,
    SD_MAP_TANH_BACKWARD,
} sd_map_kind;

typedef struct sd_map {
    sd_map_kind kind;
    float scale;
    const float *other, *mean, *rstd, *gamma, *beta;
    const sd_dropout *dropout; /* of SCALE and ADD; NULL: drop(v) = v */
    int image_rows; /* with dropout: rows of an image, so that r is row r % image_rows of image r / image_rows */
} sd_map;

/* Multi-head self-attention (Vaswani et al. 2017), P = drop(softmax(Q K^T / sqrt(head_dim))), Y = P V. */
typedef struct sd_attention {
    int images, tokens, heads, head_dim;
    const int32_t *lengths; /* [images], each in 1..tokens: keys from there on are not seen, rows from there on are not
                             * read, and zeros in y and dqkv; NULL: tokens */
    sd_dropout dropout;     /* of query q and key k of a head: row = head << 10 | q / 16, column = k << 4 | q % 16; at
                             * most 64 heads and 16384 tokens, unless the rate is 0 */
} sd_attention;

/* Embedding of token sequences (Devlin et al. 2019),
 *     y[n][t] = table[ids[n][t]] + position[t] + type[t >= second[n]]    for t < lengths[n], else 0 */
typedef struct sd_embedding {
    int images, tokens, c;
    const int32_t *ids;     /* [images, tokens], rows of the table */
    const int32_t *lengths; /* [images], each in 1..tokens; NULL: tokens */
    const int32_t *second;  /* [images], the token where a pair's second text begins; NULL: all tokens have type 0 */
} sd_embedding;

/* Floats of scratch for both passes of the linear and of the attention kernels on `threads` threads, for any number of
 * rows, images and heads. */
size_t sd_linear_scratch_elems(int in, int out, int threads);
size_t sd_attention_scratch_elems(int tokens, int head_dim, int threads);

/* Floats of scratch for apply_epilogue and layernorm_backward of [rows, c], or fewer rows, on any number of threads. */
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

    /* Stores the values of operand x: y[row][j] = relu?(a[j] u + b[j] v + d[j]). y may be x's u or v. */
    void (*store_operand)(size_t rows, int c, const sd_operand *x, float *y);
    /* Applies an epilogue to y [rows, c], in place. */
    void (*apply_epilogue)(size_t rows, int c, float *y, const sd_epilogue *epilogue, sd_scratch scratch);

    /* Statistics of each row (Ba et al. 2016), for SD_MAP_NORMALISE and the backward pass: mean and rstd = 1 /
     * sqrt(biased variance + epsilon), [rows] each. */
    void (*layernorm_statistics)(size_t rows, int c, const float *x, float epsilon, float *mean, float *rstd);
    /* Gradient of layer norm, through its statistics, too. dx = add + gradient; add may be dx, or NULL for zeros. dy:
     * gradient of the normalised values; x, dy, add, dx: [rows, c]; dgamma, dbeta: [c]. */
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

    /* qkv, dqkv: [images, tokens, 3, heads, head_dim], timm's layout; y, dy: [images, tokens, heads * head_dim].
     * Backward recomputes the probabilities. */
    void (*attention_forward)(const sd_attention *attention, const float *qkv, float *y, sd_scratch scratch);
    void (*attention_backward)(const sd_attention *attention, const float *qkv, const float *dy, float *dqkv,
                               sd_scratch scratch);

    /* y, dy: [images, tokens, c]; table: [*, c]; position: [tokens, c]; type: [2, c]; NULL: none. */
    void (*embedding_forward)(const sd_embedding *embedding, const float *table, const float *position,
                              const float *type, float *y);
    /* dposition and dtype are written, dtable is accumulated into: only the rows that ids name, each in the order of
     * tokens. The caller sets it to zeros; for a gradient of these rows alone, ids are their places in a list. */
    void (*embedding_backward)(const sd_embedding *embedding, const float *dy, float *dtable, float *dposition,
                               float *dtype);

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
     * targets: of rows, labels and others in [0, classes); 0 <= smoothing < 1; loss: [rows]; n_better: [rows], number
     * of classes with a higher logit than the label's (not the other's): the row is top-k correct if n_better < k. An
     * equal logit of a class before the label counts as higher. If any logit of the row is not finite, n_better =
     * INT32_MAX. */
    void (*cross_entropy_forward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                  float smoothing, float *loss, int32_t *n_better);
    /* dlogits = scale * d(loss)/d(logits). */
    void (*cross_entropy_backward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                   float smoothing, float scale, float *dlogits);
} sd_kernels;

/* Batch norm (Ioffe & Szegedy 2015) of x [rows, c] as an operand; each array: [c].
 *     y = scale (gamma (x - mean) / sqrt(variance + epsilon) + beta)  =  a x + d */
void sd_batchnorm_forward(int c, const float *mean, const float *variance, float epsilon, const float *gamma,
                          const float *beta, float scale, float *a, float *d);
/* Its gradient, through the statistics, too, from sum dy and sum dy (x - mean) (sd_epilogue): dx = a dy + b x + d. */
void sd_batchnorm_backward(size_t rows, int c, const float *mean, const float *variance, float epsilon,
                           const float *gamma, float scale, const float *sum, const float *sum_product, float *dgamma,
                           float *dbeta, float *a, float *b, float *d);

/* The table of an instruction set by name; NULL: the one in the environment variable SD_ISA, else the best of this
 * processor. SD_ERR_CONFIG if the name is unknown or this processor lacks it. */
sd_status sd_kernels_select(const char *isa, const sd_kernels **kernels);

/* The tables that this processor supports, in rising order of preference ("ref" first); NULL past the last. Static
 * memory. */
const sd_kernels *sd_kernels_at(int index);

/* Sets the maximum of threads of kernels without scratch, and of networks built from now on; OpenBLAS runs one thread
 * in each. Affects the calling thread only, which must build networks and run passes. */
void sd_kernels_set_threads(int threads);
/* That number, or OpenMP's default (OMP_NUM_THREADS, else the processors of this process). */
int sd_kernels_threads(void);
/* For programs that share processors with others: from now on threads that wait for each other go to sleep almost at
 * once, where by default GCC's OpenMP spins for milliseconds and takes that time from whoever is waited for. Call it
 * once, after sd_kernels_set_threads(). Costs a thread or more that sleeps until the program ends. */
void sd_kernels_share_processors(void);

#ifdef __cplusplus
}
#endif
#endif
