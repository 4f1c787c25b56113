/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the nodes of a network. One file per kind: a struct that begins with sd_node, the functions of its kind
 * table, and constructors declared in build.h. */
#ifndef SDTRAIN_NN_NODE_H
#define SDTRAIN_NN_NODE_H

#include "context.h"
#include "describe.h"

typedef struct sd_node sd_node;

/* is_identity and gradient_epilogue may be NULL. */
typedef struct sd_node_kind {
    /* Computes output: [images, out] from x. */
    void (*forward)(sd_node *node, const sd_context *context);
    /* Whether the pass skips the node: output = x and dx = dy, by address. NULL: never. */
    bool (*is_identity)(const sd_node *node, const sd_context *context);
    /* The epilogue that the node above applies to dy, the last thing before this node's backward(). NULL: none. */
    sd_epilogue (*gradient_epilogue)(const sd_node *node, const sd_context *context);
    /* Writes the gradients of the node's tensors, calls sd_segment_complete() for each segment, and writes dx with its
     * epilogue. dy: gradient of the output, may be overwritten. dx: another buffer; NULL at the last node of the pass
     * (sd_network_backward()). */
    void (*backward)(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue);
    /* Describes evaluation under the plan (describe.h). */
    sd_status (*describe)(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value);
} sd_node_kind;

struct sd_node {
    const sd_node_kind *kind;
    sd_shape in, out;
    int segment;    /* the first that the node opened */
    float *y;       /* memory for the output: [max_images, out] */
    const float *x; /* input of the pass under way: [images, in]; NULL at the first node, which reads the context's */
    const float *output; /* of the pass under way: y, or x (identity) */
};

#endif
