/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the layers of branches, stems and heads, each a short forward and backward over kernels.
 *
 * Constructors add tensors to the network's table under PyTorch's names, and reserve activations in its arena, which
 * get addresses in sd_network_finish(). */
#ifndef SDTRAIN_NN_LAYER_H
#define SDTRAIN_NN_LAYER_H

#include "context.h"
#include "describe.h"

/* Pixels of a convolution's output, over all images. */
static inline size_t sd_conv_rows_out(const sd_conv2d *conv) {
    return (size_t)conv->images * (size_t)sd_conv2d_out_h(conv) * (size_t)sd_conv2d_out_w(conv);
}

/* Convolution without bias, then batch norm. Only the convolution's product is stored; the next kernel reads the
 * normalised values as an operand. */
typedef struct sd_conv_bn {
    sd_conv2d conv;
    sd_tensor *weight, *gamma, *beta, *running_mean, *running_variance;
    float *product;
    float *mean, *variance, *a, *d; /* normalised = a product + d */
    float *sum, *sum_product;       /* of dy, see sd_conv_bn_sums() */
    float *da, *db, *dd;            /* dproduct = da dy + db product + dd */
} sd_conv_bn;

sd_status sd_conv_bn_init(sd_network *network, sd_conv_bn *layer, const char *conv_name, const char *norm_name,
                          sd_shape in, const sd_conv_spec *spec, sd_shape *out);
/* Returns scale * bn(conv(x)), valid until the next pass. Training normalises by the pass's statistics. A frozen norm
 * uses the running statistics as constants and does not move them; as does one with a single value a channel, whose
 * variance is undefined and whose normalised value would always be 0. */
sd_operand sd_conv_bn_forward(sd_conv_bn *layer, const sd_context *context, const sd_operand *x, float scale);
/* The epilogue that the caller applies to dy before sd_conv_bn_backward(): the two sums of the norm's gradient. */
sd_epilogue sd_conv_bn_sums(const sd_conv_bn *layer);
/* dy: the gradient of the operand that forward returned, its sums taken (sd_conv_bn_sums()); scale: as in forward.
 * epilogue: of dx. dx may be NULL. */
void sd_conv_bn_backward(sd_conv_bn *layer, const sd_context *context, const sd_operand *x, const float *dy,
                         float scale, float *dx, const sd_epilogue *epilogue);
double sd_conv_bn_flops(const sd_conv_bn *layer);
sd_status sd_conv_bn_describe(const sd_conv_bn *layer, sd_graph *graph, int *value);

typedef struct sd_linear {
    int in, out;
    sd_tensor *weight, *bias; /* of the first outputs, if it has been widened */
} sd_linear;

/* init_deviation > 0: normal weights, zero bias (timm); 0: both uniform in +-1/sqrt(in) (PyTorch's default). */
sd_status sd_linear_init(sd_network *network, sd_linear *layer, const char *name, int in, int out,
                         float init_deviation);
/* Appends outputs that have a weight and a bias of their own, <name>.weight and .bias, in the table of tensors; in
 * memory they lie behind those of the layer, whose passes compute all outputs at once. SD_ERR_INTERNAL if they cannot
 * (sd_network_join()). */
sd_status sd_linear_widen(sd_network *network, sd_linear *layer, const char *name, int out, float init_deviation);
/* The map y -> shortcut + scale y; shortcut NULL: scale y. */
static inline sd_map sd_map_add(const float *shortcut, float scale) {
    return (sd_map){.kind = shortcut ? SD_MAP_ADD : SD_MAP_SCALE, .other = shortcut, .scale = scale};
}
/* The maps apply to x, y, dy, dx as the kernel reads or writes them (sd_map); NULL: none. */
void sd_linear_forward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x,
                       const sd_map *x_map, float *y, const sd_map *y_map);
void sd_linear_backward(const sd_linear *layer, const sd_context *context, size_t rows, const float *x,
                        const sd_map *x_map, const float *dy, const sd_map *dy_map, float *dx, const sd_map *dx_map);
sd_status sd_linear_describe(const sd_linear *layer, sd_graph *graph, int *value);

typedef struct sd_layernorm {
    int c;
    float epsilon;
    sd_tensor *gamma, *beta;
    float *mean, *rstd;
} sd_layernorm;

/* rows: per image. */
sd_status sd_layernorm_init(sd_network *network, sd_layernorm *layer, const char *name, size_t rows, int c,
                            float epsilon);
/* Computes mean and rstd of x, and returns the map that normalises it. */
sd_map sd_layernorm_forward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x);
/* The same map, for the backward pass. */
sd_map sd_layernorm_map(const sd_layernorm *layer, const sd_context *context);
/* dx = add + gradient; add may be dx, or NULL for zeros. */
void sd_layernorm_backward(sd_layernorm *layer, const sd_context *context, size_t rows, const float *x, const float *dy,
                           const float *add, float *dx);
sd_status sd_layernorm_describe(const sd_layernorm *layer, sd_graph *graph, int *value);

/* Dropout of every element (Srivastava et al. 2014): kept ones are scaled by 1/(1-p). A decision is a function of seed,
 * step, layer, and the place of image and element in the global batch (sd_dropout). Evaluation drops nothing. */
typedef struct sd_dropout_layer {
    double rate;
    uint32_t site;
} sd_dropout_layer;

void sd_dropout_init(sd_network *network, sd_dropout_layer *layer, double rate);
/* The decisions of the pass; rate 0: it drops nothing. */
sd_dropout sd_dropout_of(const sd_dropout_layer *layer, const sd_context *context);
/* A map SD_MAP_SCALE or SD_MAP_ADD with dropout of v; shape: of one image. */
sd_map sd_dropout_map(const sd_dropout *dropout, sd_shape shape, sd_map map);

/* Gives the table of the stem of embeddings to a head whose backward pass, which comes first, writes its gradient; the
 * stem then adds to it. As every row has a gradient, the table's segment is like others (sd_segment.row_elems 0).
 * SD_ERR_INTERNAL if the network begins with another stem. */
sd_status sd_embedding_tie(sd_network *network, sd_tensor **words);

/* The end of a head: dropout, then a linear layer to the classes. Dropout is timm's drop_rate: kept features are scaled
 * by 1/(1-p). It is drawn from the counter-based RNG by the place in the global batch, so it does not depend on the
 * number of ranks. */
typedef struct sd_classifier {
    double dropout;
    sd_linear linear;
    float *features; /* [images, in], written by the head before forward */
} sd_classifier;

/* init_deviation: see sd_linear_init(). */
sd_status sd_classifier_init(sd_network *network, sd_classifier *layer, const char *name, int in, double dropout,
                             float init_deviation);
/* logits: [images, classes] */
void sd_classifier_forward(sd_classifier *layer, const sd_context *context, float *logits);
/* dfeatures: [images, in] */
void sd_classifier_backward(sd_classifier *layer, const sd_context *context, const float *dlogits, float *dfeatures);
sd_status sd_classifier_describe(const sd_classifier *layer, sd_graph *graph, int *value);

#endif
