/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that define a network: nodes in order, from the stem to the head. The models of models.h use nothing else.
 *
 *     sd_network_create
 *         sd_build_stem_*                          image -> [h, w, c]
 *         sd_build_residual_begin                  y = act(shortcut(x) + scale * F(x)); a plan may drop F
 *             sd_build_conv_branch, ...            F: exactly one branch
 *             sd_build_post_norm                   optional: y = norm(x + scale * F(x)), or x
 *         sd_build_residual_end
 *         sd_build_transition_begin                y = act(F(x)); F is always computed
 *             sd_build_conv_branch, ...
 *         sd_build_transition_end
 *         sd_build_head_*                          [h, w, c] -> logits
 *     sd_network_finish
 *
 * Call them in the order in which PyTorch registers parameters, which becomes the order of tensors; initial values
 * depend on it. sd_tensor.layer follows timm's group_matcher: 0 in the stem, the unit's depth in a residual with its
 * shortcut, that of the next block in a node without a unit, L + 1 in the classifier; the norm of a token head belongs
 * to block L. All local. Errors: SD_ERR_INTERNAL for calls out of order and for a tensor's name that is too long or
 * taken, SD_ERR_CONFIG for an image that is too small, SD_ERR_MEMORY. After an error the network can only be
 * destroyed. */
#ifndef SDTRAIN_BUILD_H
#define SDTRAIN_BUILD_H

#include <stdbool.h>

#include "sdtrain/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The shape of an activation of one image; a sequence of tokens is [tokens, 1, c]. */
typedef struct sd_shape {
    int h, w, c;
} sd_shape;

typedef struct sd_network_spec {
    int max_images; /* of a pass */
    int classes;
    bool direct;  /* no transformed convolution algorithm (sd_conv2d) */
    bool gathers; /* allows passes that keep a branch for some of their images (sd_drop_part); takes memory */
} sd_network_spec;

/* Creates an empty network, which runs on the current sd_kernels_threads() threads. The caller destroys it by
 * sd_network_destroy(). */
sd_status sd_network_create(const sd_kernels *kernels, const sd_network_spec *spec, sd_network **network);

/* Ends the definition: orders the segments and allocates memory. Values are zeros until sd_network_initialise(). Before
 * finish a network has tables and figures, but no passes. */
sd_status sd_network_finish(sd_network *network);

/* The input shape of the next node. */
sd_shape sd_network_shape(const sd_network *network);

/* A square convolution without bias, padded by kernel / 2, then batch norm. */
typedef struct sd_conv_spec {
    int filters, kernel, stride;
} sd_conv_spec;

/* ---- stems ---- */

/* "conv1", "bn1", ReLU, and with pool max pooling 3x3, stride 2 (torchvision's ResNet). image: [h, w, channels]. */
sd_status sd_build_conv_stem(sd_network *network, sd_shape image, const sd_conv_spec *conv, bool pool);

/* patches x weight + bias ("patch_embed.proj"), "cls_token" in front, "pos_embed" added (timm's ViT): [1 + patches, 1,
 * dim]. patch_size divides the image. */
sd_status sd_build_patch_stem(sd_network *network, sd_shape image, int dim, int patch_size);

/* dropout(norm(word + position + type)) of each token of a text (Devlin et al. 2019): "<name>.word_embeddings",
 * ".position_embeddings", ".token_type_embeddings", ".LayerNorm" (Hugging Face's BERT): [sequence, 1, width]. The
 * network's input are texts (sd_input), whose tokens are less than vocabulary. */
typedef struct sd_embedding_spec {
    const char *name;
    int sequence, vocabulary;
    int positions; /* rows of that table, at least sequence */
    int width;
    float epsilon;
    double dropout;
} sd_embedding_spec;
sd_status sd_build_embedding_stem(sd_network *network, const sd_embedding_spec *spec);

/* ---- residuals and transitions ---- */

/* Adds a decision unit (sd_unit) of the block at this depth (from 1); residuals refer to it by *unit. */
sd_status sd_build_unit(sd_network *network, const char *name, int depth, int *unit);

typedef enum sd_shortcut_kind {
    SD_SHORTCUT_IDENTITY,   /* the shape of F's output must be that of its input */
    SD_SHORTCUT_SUBSAMPLE,  /* every stride-th pixel, zero channels appended (He et al. 2016, option A) */
    SD_SHORTCUT_PROJECTION, /* 1x1 convolution and batch norm, "<name>.downsample.0" and ".1" (option B) */
} sd_shortcut_kind;

typedef struct sd_residual_spec {
    const char *name; /* of the block: prefix of the names of its tensors */
    int unit;         /* the decision unit; -1: F is always computed */
    sd_shortcut_kind shortcut;
    int stride; /* of the shortcut */
    bool relu;  /* act = ReLU; with an identity shortcut x must then be the output of a ReLU, or of a pool of one */
} sd_residual_spec;

sd_status sd_build_residual_begin(sd_network *network, const sd_residual_spec *spec);
/* Between the branch and the end: y = norm(x + scale F(x)), the norm of each pixel or token over its channels; y = x
 * where F is dropped (post-norm, Vaswani et al. 2017). name: within the block. For an identity shortcut, no ReLU, and a
 * branch without batch norm. */
sd_status sd_build_post_norm(sd_network *network, const char *name, float epsilon);
sd_status sd_build_residual_end(sd_network *network);

/* name: prefix of the names of the branch's tensors. */
sd_status sd_build_transition_begin(sd_network *network, const char *name, bool relu);
sd_status sd_build_transition_end(sd_network *network);

/* ---- branches ---- */

enum { SD_CONV_BRANCH_MAX = 3 };

/* n convolutions, each with a batch norm, and ReLUs between them: "conv1", "bn1", ... (torchvision's BasicBlock,
 * Bottleneck). zero_init: the last norm's weight starts at 0 (Goyal et al. 2017). */
sd_status sd_build_conv_branch(sd_network *network, int n, const sd_conv_spec *convs, bool zero_init);

/* projection(attention(qkv(norm(x)))) over the h * w tokens of an image (Vaswani et al. 2017; pre-norm as Dosovitskiy
 * et al. 2021). heads divides the channels. This branch and the next need a node without ReLU. */
typedef struct sd_attention_spec {
    int heads;
    const char *norm;   /* names of the layers within the block; no norm: NULL (post-norm, sd_build_post_norm()) */
    const char *qkv[3]; /* of one linear layer, or of three, for queries, keys and values */
    const char *projection;
    double dropout, attention_dropout; /* of F(x); of the attention's probabilities */
    float epsilon;                     /* of the norm */
} sd_attention_spec;
sd_status sd_build_attention_branch(sd_network *network, const sd_attention_spec *spec);

/* fc2(gelu(fc1(norm(x)))). */
typedef struct sd_mlp_spec {
    int hidden;                   /* width between the layers */
    const char *norm, *fc1, *fc2; /* norm: NULL for none */
    double dropout;               /* of F(x) */
    float epsilon;
} sd_mlp_spec;
sd_status sd_build_mlp_branch(sd_network *network, const sd_mlp_spec *spec);

/* ---- heads ---- */

/* Mean over pixels, dropout, "fc". dropout: timm's drop_rate, in [0, 1). */
sd_status sd_build_pool_head(sd_network *network, double dropout);

/* "norm" of the first token, dropout, "head". epsilon: of the norm. */
sd_status sd_build_token_head(sd_network *network, double dropout, float epsilon);

/* tanh(dense(first token)), dropout, classifier (BERT); dense, classifier: names of the layers. */
sd_status sd_build_pooler_head(sd_network *network, const char *dense, const char *classifier, double dropout);

/* norm(gelu(dense(token))) words^T + bias of each masked token, words being the table of the stem, which must be one of
 * embeddings (BERT's masked language model): "<name>.bias", ".transform.dense", ".transform.LayerNorm". The network's
 * classes are its vocabulary. */
typedef struct sd_masked_head_spec {
    const char *name;
    int masked; /* tokens of a text, at most */
    float epsilon;
} sd_masked_head_spec;
sd_status sd_build_masked_head(sd_network *network, const sd_masked_head_spec *spec);

#ifdef __cplusplus
}
#endif
#endif
