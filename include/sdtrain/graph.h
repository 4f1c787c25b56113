/* SPDX-License-Identifier: Apache-2.0 */
/* What a network computes in evaluation, as a list of operations, for exports to other programs' formats.
 *
 * Local. Each node and branch of a network describes itself (sd_network_describe()); no family of models is known
 * here. Value 0 is the image, or the text's tokens; value i + 1 the output of operation i; an operation reads values
 * before its own. Shapes are of one image: pictures [h, w, c], tokens [tokens, 1, c], features [1, 1, c]. */
#ifndef SDTRAIN_GRAPH_H
#define SDTRAIN_GRAPH_H

#include "sdtrain/build.h"
#include "sdtrain/choice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(operation, word): behind it, the members of sd_op that it uses besides x and out. */
#define SD_OP_LIST(X)                                                                                                  \
    X(SD_OP_CONV, "conv")               /* weight, bias or NULL; kernel, stride, pad */                                \
    X(SD_OP_BATCHNORM, "batchnorm")     /* weight (x - mean) / sqrt(variance + epsilon) + bias, of each channel */     \
    X(SD_OP_RELU, "relu")               /* max(x, 0) */                                                                \
    X(SD_OP_MAXPOOL, "maxpool")         /* kernel, stride, pad (by -infinity) */                                       \
    X(SD_OP_SUBSAMPLE, "subsample")     /* every stride-th pixel, zero channels appended */                            \
    X(SD_OP_MEAN, "mean")               /* over pixels: features */                                                    \
    X(SD_OP_TOKENS, "tokens")           /* pixels in row order, class_token in front; position added to all */         \
    X(SD_OP_EMBEDDING, "embedding")     /* of the tokens of a text: weight[id] + position[t] + type[0 or 1] */         \
    X(SD_OP_FIRST_TOKEN, "first_token") /* features */                                                                 \
    X(SD_OP_LAYERNORM, "layernorm")     /* over channels: weight, bias, epsilon */                                     \
    X(SD_OP_LINEAR, "linear")           /* weight x + bias, of each token or of features; weight: [out, in] */         \
    X(SD_OP_GELU, "gelu")               /* x/2 (1 + erf(x / sqrt(2))) */                                               \
    X(SD_OP_TANH, "tanh")                                                                                              \
    X(SD_OP_ATTENTION, "attention") /* x = q, k, v, of each head: softmax(q k^T / sqrt(head_dim)) v */                 \
    X(SD_OP_JOIN, "join")           /* channels of x, then those of other */                                           \
    X(SD_OP_ADD, "add")             /* x + other */                                                                    \
    X(SD_OP_SCALE, "scale")         /* factor x */
typedef enum sd_op_kind { SD_OP_LIST(SD_CHOICE_ENUMERATOR) } sd_op_kind;
SD_CHOICE_WORD_OF(sd_op_kind, SD_OP_LIST)

typedef struct sd_op {
    sd_op_kind kind;
    int x, other;                     /* numbers of values */
    sd_shape out;                     /* of the output */
    const sd_tensor *weight, *bias;   /* the network's */
    const sd_tensor *mean, *variance; /* running statistics */
    const sd_tensor *class_token, *position, *type;
    int kernel, stride, pad, heads;
    float epsilon, factor;
} sd_op;

typedef struct sd_graph {
    sd_shape in; /* of the image */
    bool texts;  /* the input is a text, and attention does not see the keys behind its length */
    int n, capacity;
    sd_op *op; /* [n]; the output of the last are the logits */
} sd_graph;

/* Describes the network's evaluation under a plan (sd_drop_plan_evaluation()): branches are multiplied by its scale,
 * and a branch that it drops is not there. Needs no values, so an outline will do. The graph points to the network's
 * tensors, and must not outlive it. SD_ERR_MEMORY; the caller calls sd_graph_free() in any case. */
sd_status sd_network_describe(const sd_network *network, const sd_drop_plan *plan, sd_graph *graph);

/* The shape of value i. */
sd_shape sd_graph_shape(const sd_graph *graph, int i);

/* Frees the operations; a zeroed graph is valid. */
void sd_graph_free(sd_graph *graph);

#ifdef __cplusplus
}
#endif
#endif
