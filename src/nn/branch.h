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

/* For constructors of branches: add a layer norm or a linear layer (timm's initial values) over the tokens of the
 * branch's input, named <block>.<name>. */
sd_status sd_branch_add_norm(sd_network *network, sd_branch *branch, sd_layernorm *layer, const char *name,
                             float epsilon);
sd_status sd_branch_add_linear(sd_network *network, sd_branch *branch, sd_linear *layer, const char *name, int in,
                               int out);

#endif
