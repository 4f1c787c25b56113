/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the nodes that a network is a list of. A kind of node is one file: a struct that begins with sd_node and
 * holds what the kind needs, its functions, and its constructors of build.h. */
#ifndef SDTRAIN_NN_NODE_H
#define SDTRAIN_NN_NODE_H

#include "context.h"

typedef struct sd_node sd_node;

/* What is NULL is left out. */
typedef struct sd_node_kind {
    /* Computes output: [images, out] from x. */
    void (*forward)(sd_node *node, const sd_context *context);
    /* Whether the pass skips the node: its output is x, and the gradient of x that of the output, by address. NULL:
     * never. */
    bool (*is_identity)(const sd_node *node, const sd_context *context);
    /* What is to be done to the gradient of the output before backward(): whoever computes it does this last. NULL:
     * nothing. */
    sd_epilogue (*gradient_epilogue)(const sd_node *node, const sd_context *context);
    /* Writes the gradients of the node's tensors, telling sd_segment_complete() of each segment, and dx, to which it
     * then applies the epilogue. dy: of the output, may be overwritten. dx: another buffer; NULL at the first node. */
    void (*backward)(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue);
} sd_node_kind;

struct sd_node {
    const sd_node_kind *kind;
    sd_shape in, out;
    int segment;    /* the first that it opened */
    float *y;       /* memory for the output: [max_images, out] */
    const float *x; /* input of the pass under way: [images, in]; NULL at the first node, which reads the context's */
    const float *output; /* of the pass under way: y, or x */
};

#endif
