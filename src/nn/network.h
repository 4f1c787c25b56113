/* SPDX-License-Identifier: Apache-2.0 */
/* Private: the parts of a network and how models put one together.
 *
 *     sd_network_create -> a stem -> residuals in order -> a head -> sd_network_finish
 *
 * A model calls these in the order in which PyTorch registers parameters, so the table reads like a state_dict. */
#ifndef SDTRAIN_NN_NETWORK_H
#define SDTRAIN_NN_NETWORK_H

#include "branch.h"
#include "sdtrain/arena.h"

typedef enum sd_shortcut_kind {
    SD_SHORTCUT_IDENTITY,
    SD_SHORTCUT_SUBSAMPLE,  /* every stride-th pixel, zero channels appended (option A) */
    SD_SHORTCUT_PROJECTION, /* 1x1 convolution and batch norm (option B) */
} sd_shortcut_kind;

typedef struct sd_residual_spec {
    int depth, unit;
    sd_shortcut_kind shortcut;
    int stride; /* of the shortcut */
    bool relu;  /* after the sum */
} sd_residual_spec;

typedef struct sd_residual {
    sd_residual_spec spec;
    sd_shape in, out;
    sd_branch branch;
    sd_conv_bn projection;
    int branch_segment, shortcut_segment; /* the latter -1 without a projection */
    float *y;                             /* planned output */
    const float *x, *output;              /* of the pass under way; output is x itself if nothing was computed */
} sd_residual;

typedef struct sd_stem {
    sd_shape image, out;
    double flops;
    int segment;
    /* y: [images, out] */
    void (*forward)(struct sd_stem *stem, const sd_context *context, const float *images, float *y);
    /* What must be done to dy before it is handed to backward. */
    sd_epilogue (*awaits)(const struct sd_stem *stem);
    void (*backward)(struct sd_stem *stem, const sd_context *context, const float *images, float *dy);
    union {
        struct { /* conv-bn-relu and perhaps a 3x3/2 max pool */
            sd_conv_bn layer;
            bool pool;
            float *unpooled; /* what is pooled */
        } conv;
        struct { /* patches x weight + bias, class token in front, position embedding added */
            sd_conv2d conv;
            sd_tensor *weight, *bias, *cls_token, *pos_embed;
        } patch;
    };
    float *y;
} sd_stem;

typedef struct sd_head {
    sd_shape in;
    bool tokens; /* layer norm and class token (ViT); else mean over pixels (ResNet) */
    int segment;
    double dropout;
    sd_layernorm norm;
    sd_linear linear;
    float *gathered, *features, *logits; /* [images, c], [images, c], [images, classes] */
} sd_head;

struct sd_network {
    const sd_kernels *kernels;
    int max_images, classes, blocks;
    int threads;  /* that scratch is taken for, and so the most that a pass runs on */
    bool direct;  /* convolutions: no transformed algorithm */
    bool gathers; /* passes may have parts that keep a branch for some of their images */
    sd_arena arena;
    sd_tensor **tensors;
    int n_tensors, tensors_capacity;
    sd_segment *segments; /* in the order in which they are built, until finish puts them into backward's order */
    int n_segments, segments_capacity;
    int open_segment; /* new tensors belong to it */
    sd_unit *units;
    int n_units, units_capacity;
    sd_stem stem;
    sd_residual **residuals;
    int n_residuals, residuals_capacity;
    sd_head head;
    float *values, *gradients;
    size_t buffer_elems, parameters, batchnorm_values;
    double flops;
    /* The largest any layer asked for, all but the first for all images. */
    size_t scratch_elems, work_elems, gradient_elems, gathered_elems;
    float *scratch, *work[SD_WORK_BUFFERS], *gradient[2], *gathered[SD_GATHERED_BUFFERS];
};

/* Formats a name as printf does. SD_ERR_INTERNAL, with the name, if it has SD_NAME_BYTES characters or more. */
sd_status sd_name_format(char name[SD_NAME_BYTES], const char *format, ...) __attribute__((format(printf, 2, 3)));

sd_status sd_network_create(const sd_kernels *kernels, int max_images, int classes, sd_network **network);

/* Stems; name as PyTorch's ("conv1" with "bn1"; "patch_embed.proj"). */
sd_status sd_network_stem_conv(sd_network *network, sd_shape image, int filters, int kernel, int stride, bool pool);
sd_status sd_network_stem_patch(sd_network *network, sd_shape image, int dim, int patch_size);

/* A new decision unit. */
sd_status sd_network_add_unit(sd_network *network, const char *name, int depth, int *unit);

/* A new residual; in: the shape so far. The branch is then built into residual->branch by a branch constructor, after which
 * sd_network_close_residual() plans shortcut (its tensors: <name>.downsample.0 and .1) and output. */
sd_status sd_network_open_residual(sd_network *network, sd_residual_spec spec, sd_residual **residual);
sd_status sd_network_close_residual(sd_network *network, sd_residual *residual, const char *name, sd_shape out);

/* Heads: mean over pixels + "fc"; "norm" of the class token + "head". */
sd_status sd_network_head_pool(sd_network *network, double dropout);
sd_status sd_network_head_token(sd_network *network, double dropout);

/* Orders the segments, plans and takes memory. */
sd_status sd_network_finish(sd_network *network);

/* The shape that the next residual or the head sees. */
sd_shape sd_network_shape(const sd_network *network);

/* For constructors of layers. The tensor is called <name>.<suffix>, or <suffix> where name is NULL. Initial values: see
 * sd_tensor; an entry of zeros is zeros. SD_ERR_INTERNAL if the name is too long or taken. */
sd_status sd_network_add_tensor(sd_network *network, sd_tensor tensor, const char *name, const char *suffix,
                                sd_tensor **added);
sd_status sd_network_open_segment(sd_network *network, int unit, int *segment);
void sd_network_want_scratch(sd_network *network, size_t elems);
void sd_network_want_work(sd_network *network, size_t elems_per_image);
/* The gradient that goes from residual to residual. */
void sd_network_want_gradient(sd_network *network, size_t elems_per_image);
/* What a residual gathers; planned only if the network gathers. */
void sd_network_want_gathered(sd_network *network, size_t elems_per_image);

/* some[i] = all[places[i]], and all[places[i]] = some[i]; elems: of an image. */
void sd_gather(int images, const uint32_t *places, size_t elems, const float *all, float *some);
void sd_scatter(int images, const uint32_t *places, size_t elems, const float *some, float *all);
/* to[i] = from[i], then max(., 0) if relu, for the images of the pass whose places are not listed. to may be from. */
void sd_fill_rest(const sd_context *context, int images, const uint32_t *places, sd_shape shape, const float *from,
                  bool relu, float *to);

/* Parts of a pass. */
const float *sd_residual_forward(sd_residual *residual, const sd_context *context, const float *x);
/* Whether the block is dropped and leaves nothing behind: its output is its input, by address, and so is its gradient. */
bool sd_residual_is_passed_by(const sd_residual *residual, const sd_context *context);
/* What must be done to the gradient of the block's output before it is handed to backward. */
sd_epilogue sd_residual_awaits(const sd_residual *residual, const sd_context *context);
/* dy may be overwritten. dx is another buffer; epilogue: what those who get dx await. */
void sd_residual_backward(sd_residual *residual, const sd_context *context, float *dy, float *dx,
                          const sd_epilogue *epilogue, sd_segment_done done, void *done_context);
void sd_head_forward(sd_head *head, const sd_context *context, const float *x);
void sd_head_backward(sd_head *head, const sd_context *context, const float *dlogits, float *dx);

#endif
