/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the residual branches F of y = shortcut(x) + scale * F(x). */
#ifndef SDTRAIN_NN_BRANCH_H
#define SDTRAIN_NN_BRANCH_H

#include "layer.h"

enum { SD_CONV_BRANCH_MAX = 3 };

typedef struct sd_branch sd_branch;

/* x, y, dx, dy: [images, shape]. A branch may use the context's working memory. */
typedef struct sd_branch_kind {
    /* y = shortcut + scale * F(x), then max(., 0) if relu. */
    void (*forward)(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y);
    /* What backward needs done last to dy, the gradient of the sum (beside the ReLU's mask, which comes before). */
    sd_epilogue (*sums)(const sd_branch *branch);
    /* dx = shortcut + scale * (dF/dx)^T dy, shortcut being the gradient that came through it; then the epilogue. shortcut may be
     * dy or dx; dx is not dy. */
    void (*backward)(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue);
} sd_branch_kind;

struct sd_branch {
    const sd_branch_kind *kind;
    double flops; /* forward, per image */
    union {
        struct {
            int n;                                /* 2: basic block, 3: bottleneck (He et al. 2016) */
            sd_conv_bn layer[SD_CONV_BRANCH_MAX]; /* ReLU after all but the last */
        } conv;
        struct { /* F(x) = proj(attention(qkv(norm(x)))) (Dosovitskiy et al. 2021) */
            int tokens, heads, head_dim;
            sd_layernorm norm;
            sd_linear qkv, projection;
            float *queries_keys_values, *mixed;
        } attention;
        struct { /* F(x) = fc2(gelu(fc1(norm(x)))) */
            int tokens;
            sd_layernorm norm;
            sd_linear fc1, fc2;
            float *hidden; /* before gelu */
        } mlp;
    };
};

/* One convolution of a conv branch. */
typedef struct sd_conv_spec {
    int filters, kernel, stride;
} sd_conv_spec;

/* name: the block's ("layer1.0"); tensors are <name>.conv1.weight, <name>.bn1.weight, ... zero_init: the last norm's weight
 * starts at 0 (Goyal et al. 2017). */
sd_status sd_conv_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int n,
                              const sd_conv_spec *spec, bool zero_init, sd_shape *out);
/* name: the block's ("blocks.0"). */
sd_status sd_attention_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int heads);
sd_status sd_mlp_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int hidden);

#endif
