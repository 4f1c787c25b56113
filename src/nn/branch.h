/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the branches F of residuals, y = act(shortcut(x) + scale * F(x)), and of transitions, y = act(F(x)). One
 * file per kind: a struct that begins with sd_branch, the functions of its kind table, and a constructor declared in
 * build.h. */
#ifndef SDTRAIN_NN_BRANCH_H
#define SDTRAIN_NN_BRANCH_H

#include "layer.h"

typedef struct sd_branch sd_branch;

/* x, dx: [images, in]; y, dy, shortcut: [images, out]. A branch may use context->scratch and context->work. */
typedef struct sd_branch_kind {
    /* y = shortcut + scale * F(x), then max(., 0) if relu. shortcut NULL: zeros. */
    void (*forward)(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut, float scale,
                    bool relu, float *y);
    /* The epilogue that the caller applies to dy before backward(), after the ReLU mask: the two batch-norm sums. NULL:
     * none. */
    sd_epilogue (*gradient_epilogue)(const sd_branch *branch);
    /* dx = shortcut + scale * (dF/dx)^T dy, then the epilogue of dx. shortcut: the gradient through the shortcut,
     * [images, in], NULL for zeros; may be dy or dx. dx is not dy; NULL: nobody reads it. */
    void (*backward)(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                     const float *shortcut, float *dx, const sd_epilogue *epilogue);
    /* Describes F in evaluation (describe.h). */
    sd_status (*describe)(const sd_branch *branch, sd_graph *graph, int *value);
    bool has_relu; /* forward() supports relu */
} sd_branch_kind;

struct sd_branch {
    const sd_branch_kind *kind;
    sd_shape in, out;
    double flops; /* forward, per image */
};

static inline sd_epilogue sd_branch_gradient_epilogue(const sd_branch *branch) {
    return branch->kind->gradient_epilogue ? branch->kind->gradient_epilogue(branch) : (sd_epilogue){0};
}

/* ---- the ends of a transformer's branch: layers over the tokens of its input, named <block>.<name> ---- */

/* linear(norm(x)), or linear(x). */
typedef struct sd_branch_first {
    bool has_norm;
    sd_layernorm norm;
    sd_linear linear;
} sd_branch_first;

/* norm: NULL for none; names: of the linear layer's n parts, `out` outputs each. */
sd_status sd_branch_first_init(sd_network *network, sd_branch *branch, sd_branch_first *layer, const char *norm,
                               float epsilon, int n, const char *const *names, int out);
/* y: [images, tokens, n out] */
void sd_branch_first_forward(sd_branch_first *layer, const sd_context *context, size_t rows, const float *x, float *y);
/* dy: may be overwritten; dnormed: [images, tokens, in], overwritten; the others as in sd_branch_kind.backward. */
void sd_branch_first_backward(sd_branch_first *layer, const sd_context *context, size_t rows, const float *x, float *dy,
                              const sd_map *dy_map, float *dnormed, const float *shortcut, float *dx,
                              const sd_epilogue *epilogue);
sd_status sd_branch_first_describe(const sd_branch_first *layer, sd_graph *graph, int *value);

/* dropout(linear(x)). */
typedef struct sd_branch_last {
    sd_linear linear;
    sd_dropout_layer dropout;
    sd_shape out;
} sd_branch_last;

sd_status sd_branch_last_init(sd_network *network, sd_branch *branch, sd_branch_last *layer, const char *name, int in,
                              double dropout);
/* y = shortcut + scale dropout(linear(x_map(x))); shortcut NULL: zeros. */
void sd_branch_last_forward(sd_branch_last *layer, const sd_context *context, size_t rows, const float *x,
                            const sd_map *x_map, const float *shortcut, float scale, float *y);
/* x, dx: before x_map. */
void sd_branch_last_backward(sd_branch_last *layer, const sd_context *context, size_t rows, const float *x,
                             const sd_map *x_map, const float *dy, float scale, float *dx);
sd_status sd_branch_last_describe(const sd_branch_last *layer, sd_graph *graph, int *value);

#endif
