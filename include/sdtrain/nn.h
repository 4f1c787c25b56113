/* SPDX-License-Identifier: Apache-2.0 */
/* A network: nodes in order, a stem, residuals and transitions, a head; its parameters; its forward and backward pass
 * under a drop plan.
 *
 * Everything here is local, and for one thread at a time. A network comes from sd_model_create(), or is defined with
 * build.h. Its passes cannot fail and allocate nothing. Kernels that share its scratch run on at most the threads that
 * were set when it was created (sd_kernels_set_threads()). Parameters live in one contiguous buffer and their gradients
 * in another with the same layout, ordered as the backward pass finishes them (head first, stem last):
 *
 *     values     | head | block L shortcut | block L branch | ... | block 1 branch | stem |
 *     gradients  | head | block L shortcut | block L branch | ... | block 1 branch | stem |
 *                   ^ a segment: finished at one moment, dropped or kept as one, sent as one piece of memory
 *
 * The running statistics of batch norm stand in the same table: their value is the running estimate, their "gradient"
 * is this rank's batch statistic minus that value, times its share of the global batch, so the sum over ranks is how
 * far the batch's statistic is from the running one: exactly 0 where no rank had any. */
#ifndef SDTRAIN_NN_H
#define SDTRAIN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/batch.h"
#include "sdtrain/drop.h"
#include "sdtrain/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SD_NAME_BYTES = 128
}; /* of a tensor's or a unit's name, with the 0 that ends it; longer ones are refused, never cut */

typedef enum sd_tensor_kind {
    SD_TENSOR_PARAMETER, /* learned */
    SD_TENSOR_STATISTIC, /* running mean or variance of a batch norm */
} sd_tensor_kind;

/* How a tensor's values lie in memory. shape is always PyTorch's. */
typedef enum sd_tensor_layout {
    SD_LAYOUT_PLAIN, /* as in PyTorch */
    SD_LAYOUT_HWIO,  /* convolution weights: shape is [O, I, H, W], memory is [H, W, I, O] */
} sd_tensor_layout;

typedef struct sd_tensor {
    char name[SD_NAME_BYTES]; /* as in PyTorch's state_dict; no two tensors of a network have the same */
    sd_tensor_kind kind;
    sd_tensor_layout layout;
    int dims, shape[4];
    size_t elems;
    bool counted; /* the last tensor of a batch norm, behind which PyTorch's state_dict has num_batches_tracked */
    bool matrix;  /* false: norms, biases, position and class embeddings ([optimizer] decay = matrices spares them) */
    float init_mean; /* initial values: mean + deviation * N(0, 1), or mean + bound * U(-1, 1) */
    float init_deviation, init_bound;
    int segment;
    size_t offset_elems; /* in buffers of values, of gradients, and all others that are laid out like them */
} sd_tensor;

typedef struct sd_segment {
    int unit;                   /* decision unit whose drop leaves this segment out, or -1: always there */
    size_t offset_elems, elems; /* with statistics and padding */
    size_t parameter_elems;     /* learned values only */
    int64_t kept_steps;         /* training steps in which it was computed (PyTorch's num_batches_tracked) */
} sd_segment;

/* A decision unit, for logs and for what a drop saves. */
typedef struct sd_unit {
    char name[SD_NAME_BYTES];
    int depth;         /* place l of its block, from 1 */
    size_t parameters; /* learned values of its branches */
    double flops;      /* forward, per image: 2 x multiply-adds of convolutions and matrix products */
} sd_unit;

typedef struct sd_network sd_network;

/* What one pass is about. */
typedef struct sd_pass {
    int images; /* at most the max_images of the network */
    bool training;
    const sd_drop_plan *plan;
    /* Training: which of these images a branch is computed for; NULL: all, where the plan keeps it. Only a network that
     * gathers (sd_model_spec) takes one that keeps some of them. */
    const sd_drop_part *part;
    /* Training: images / images of the global batch. (With a part, branches use the share of images that keep them.) */
    float batch_share;
    /* Training: where gradients go, laid out as values are; NULL: the network's own buffer. Forward and backward of
     * a pass get the same. */
    float *gradients;
    /* Training with dropout: seed, step, and the place of image 0 in the global batch. */
    uint32_t seed;
    uint64_t step, first_image;
} sd_pass;

/* input: of pass->images images. Returns logits: [images, classes], the network's own memory, until the next pass. In
 * training batch statistics are written to the gradients already. */
const float *sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input);

/* Called when all gradients of a segment are complete, in the order of segments; also for dropped ones. */
typedef void (*sd_segment_done)(void *context, int segment);

/* The pass and input of the last forward, which was a training pass; dlogits: [images, classes], may be overwritten.
 * Writes the gradient of every kept segment; those of dropped segments, and of branches that none of these images
 * keeps, are neither written nor read. */
void sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                         sd_segment_done done, void *context);

/* After the gradients (and with them the batch statistics) of a training step have been summed over ranks: moves the
 * running statistics of kept segments, r += 0.1 gradient, that is 0.1 (batch - r) (PyTorch's momentum 0.1), and
 * counts their steps. */
void sd_network_update_statistics(sd_network *network, const sd_drop_plan *plan);

/* Sets a segment's kept_steps: of a network whose state comes from elsewhere, as from a checkpoint. */
void sd_network_set_kept_steps(sd_network *network, int segment, int64_t kept_steps);

/* Whether a plan computes a segment. */
bool sd_segment_is_kept(const sd_segment *segment, const sd_drop_plan *plan);

/* Frees the network with all its tables and buffers, and makes *network NULL; NULL is fine. */
void sd_network_destroy(sd_network **network);

/* The tables, which the network owns. Tensors in the order PyTorch's state_dict has them, segments as backward does. */
int sd_network_n_tensors(const sd_network *network);
const sd_tensor *sd_network_tensor(const sd_network *network, int i);
int sd_network_n_segments(const sd_network *network);
const sd_segment *sd_network_segment(const sd_network *network, int i);
int sd_network_n_units(const sd_network *network);
const sd_unit *sd_network_unit(const sd_network *network, int i);
int sd_network_blocks(const sd_network *network);
int sd_network_classes(const sd_network *network);
float *sd_network_values(sd_network *network);
float *sd_network_gradients(sd_network *network);
size_t sd_network_buffer_elems(const sd_network *network); /* of values and of gradients, each */
size_t sd_network_parameters(const sd_network *network);   /* learned values */
double sd_network_flops(const sd_network *network);        /* forward, per image, all branches kept */
size_t sd_network_activation_bytes(const sd_network *network);
/* The fewest values a channel that batch norm sees per image (0: no batch norm): images of a rank times this must be
 * >= 2. */
size_t sd_network_batchnorm_values(const sd_network *network);

/* Sets all values from the counter-based RNG: the same on every rank. */
void sd_network_initialise(sd_network *network, uint32_t seed);

/* Copies between a tensor's memory and PyTorch's layout (array: elems values). */
void sd_tensor_export(const sd_tensor *tensor, const float *memory, float *array);
void sd_tensor_import(const sd_tensor *tensor, const float *array, float *memory);

#ifdef __cplusplus
}
#endif
#endif
