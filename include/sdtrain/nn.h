/* SPDX-License-Identifier: Apache-2.0 */
/* A network: a list of nodes (stem, residuals and transitions, head), its parameters, and its forward and backward pass
 * under a drop plan.
 *
 * Local, and for one thread at a time. sd_model_create() makes a network, or build.h defines one. Passes cannot fail
 * and allocate nothing. Kernels with scratch run on at most the threads that were set when the network was created
 * (sd_kernels_set_threads()). Parameters lie in one contiguous buffer and gradients in another of the same layout, in
 * the order in which backward finishes them (head first, stem last):
 *
 *     values     | head | block L shortcut | block L branch | ... | block 1 branch | stem |
 *     gradients  | head | block L shortcut | block L branch | ... | block 1 branch | stem |
 *                   ^ a segment: finished at one moment, dropped or kept as one, sent as one piece of memory
 *
 * The running statistics r of batch norm are tensors of the same table. Their "gradient" is batch_share (s - r), s
 * being this pass's batch statistic; the sum over ranks is the weighted mean of s, minus r, and exactly 0 if no rank
 * took statistics. */
#ifndef SDTRAIN_NN_H
#define SDTRAIN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sdtrain/batch.h"
#include "sdtrain/drop.h"
#include "sdtrain/kernels.h"
#include "sdtrain/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SD_NAME_BYTES = 128,                   /* of a tensor's or unit's name, with its 0; longer names are errors */
    SD_COUNTER_BYTES = SD_NAME_BYTES + 20, /* of a counter's name (sd_tensor_counter()) */
};

typedef enum sd_tensor_kind {
    SD_TENSOR_PARAMETER, /* learned */
    SD_TENSOR_STATISTIC, /* running mean or variance of a batch norm */
} sd_tensor_kind;

/* The layout of a tensor in memory. shape is always PyTorch's. */
typedef enum sd_tensor_layout {
    SD_LAYOUT_PLAIN, /* as in PyTorch */
    SD_LAYOUT_HWIO,  /* convolution weights: shape is [O, I, H, W], memory is [H, W, I, O] */
} sd_tensor_layout;

/* What else than its own shape a tensor of a file may have to be adopted (sd_model_adopt()). */
typedef enum sd_tensor_fit {
    SD_FIT_EXACT,   /* nothing */
    SD_FIT_CLASSES, /* another shape[0]: the classes of another task, whose values are of no use */
    SD_FIT_ROWS,    /* another shape[0]: rows that both have are taken over */
    SD_FIT_GRID,    /* [1, 1 + g g, c], another g: rows behind the first are a square grid, which can be resampled */
} sd_tensor_fit;

typedef struct sd_tensor {
    char name[SD_NAME_BYTES]; /* as in PyTorch's state_dict; unique within a network */
    sd_tensor_kind kind;
    sd_tensor_layout layout;
    int dims, shape[4];
    size_t elems;
    bool counted; /* the last tensor of a batch norm, which num_batches_tracked follows in PyTorch's state_dict */
    bool frozen;  /* sd_network_freeze() */
    bool matrix;  /* false: norms, biases, position and class embeddings ([optimizer] decay = matrices spares them) */
    /* The last affine map of a branch: the branch's output is linear in the tensors of it that have this mark. */
    bool ends_branch;
    sd_tensor_fit fit;
    float init_mean; /* initial values: mean + deviation * N(0, 1), or mean + bound * U(-1, 1) */
    float init_deviation, init_bound;
    int segment;
    int layer; /* depth, for layer-wise learning rates: 0 stem, l block l, sd_network_blocks() + 1 head (see build.h) */
    size_t offset_elems; /* in buffers of values and gradients, and in all buffers laid out like them */
    /* The tensor directly behind this one in memory, so that kernels read both as one (queries, keys and values of
     * BERT); NULL: no matter which. */
    struct sd_tensor *next;
    bool is_next; /* of another tensor */
} sd_tensor;

typedef struct sd_segment {
    int unit;                   /* decision unit whose drop skips this segment; -1: never skipped */
    size_t offset_elems, elems; /* with statistics and padding */
    size_t parameter_elems;     /* learned values only */
    /* > 0: the segment is one table with rows of so many values, and a pass gives those rows alone a gradient other
     * than 0 that the tokens of its input name. 0: any other segment. */
    size_t row_elems;
    bool frozen;        /* all of its tensors are */
    int64_t kept_steps; /* training steps that kept it, none while frozen (PyTorch's num_batches_tracked) */
} sd_segment;

/* A decision unit, for logs and for the savings of a drop. */
typedef struct sd_unit {
    char name[SD_NAME_BYTES];
    int depth;          /* l of its block, from 1 */
    bool changes_shape; /* a shortcut of it is no identity: without its branches it is not its input */
    bool post_norm; /* a norm follows the sum of x and F(x), so that no scale of F keeps the expectation of the rest */
    size_t parameters; /* learned values of its branches */
    double flops;      /* forward, per image: 2 x multiply-adds of convolutions and matrix products */
} sd_unit;

typedef struct sd_network sd_network;

/* The parameters of one pass. */
typedef struct sd_pass {
    int images; /* at most the max_images of the network */
    bool training;
    const sd_drop_plan *plan;
    /* Training: the images that keep each branch; NULL: all images keep the branches that the plan keeps. A part that
     * keeps a branch for some images needs a network that gathers (sd_model_spec). */
    const sd_drop_part *part;
    /* Training: images / images of the global batch. (With a part, each branch uses the ratio of images that keep
     * it.) */
    float batch_share;
    /* Training: buffer for gradients, laid out like values; NULL: the network's own. The same in forward and
     * backward. */
    float *gradients;
    /* Training with dropout: seed, step, and the place of image 0 in the global batch. */
    uint32_t seed;
    uint64_t step, first_image;
} sd_pass;

/* input: pass->images images. Returns logits: [images, classes], memory of the network, valid until the next pass. In
 * training forward also writes the "gradients" of running statistics. */
const float *sd_network_forward(sd_network *network, const sd_pass *pass, const sd_input *input);

/* Called when all gradients of a segment are complete, in the order of segments; for dropped segments, too. */
typedef void (*sd_segment_done)(void *context, int segment);

/* pass, input: of the last forward, in training; dlogits: [images, classes], may be overwritten. Writes the gradients
 * of every kept segment. Gradients of dropped segments, and of branches that no image of the pass keeps, are neither
 * written nor read. The pass ends at the lowest node that has a segment which is not frozen: below it, done is called
 * and nothing is written. */
void sd_network_backward(sd_network *network, const sd_pass *pass, const sd_input *input, float *dlogits,
                         sd_segment_done done, void *context);

/* Call after the gradients of a training step have been summed over ranks. Updates the running statistics of kept
 * segments, r += 0.1 gradient = 0.1 (s - r) (PyTorch's momentum 0.1), and their kept_steps. */
void sd_network_update_statistics(sd_network *network, const sd_drop_plan *plan);

/* Sets a segment's kept_steps, for a network whose state is loaded. */
void sd_network_set_kept_steps(sd_network *network, int segment, int64_t kept_steps);

/* Whether a plan computes a segment. */
bool sd_segment_is_kept(const sd_segment *segment, const sd_drop_plan *plan);

/* Whether a step changes a segment, and so reads its gradients: the plan keeps it, and it is not frozen. */
bool sd_segment_is_trained(const sd_segment *segment, const sd_drop_plan *plan);

/* Sets which parameters are frozen: [tensors], entries of statistics are not read. Frozen ones are never changed
 * (requires_grad = False in PyTorch). A batch norm whose weight and bias are both frozen is in PyTorch's eval mode: it
 * normalises by its running statistics, which are frozen as well (kept_steps still counts if another tensor of its
 * segment is trained). Other batch norms, and the drops of a plan, are as before. After sd_network_finish(), and before
 * a reducer of the network is created. */
void sd_network_freeze(sd_network *network, const bool *frozen);

/* Frees the network with its tables and buffers, and sets *network to NULL; *network may be NULL. */
void sd_network_destroy(sd_network **network);

/* The network's tables, which it owns: tensors in the order of PyTorch's state_dict, segments in backward order. */
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
size_t sd_network_trained(const sd_network *network);      /* of these, not frozen */
double sd_network_flops(const sd_network *network);        /* forward, per image, all branches kept */
size_t sd_network_activation_bytes(const sd_network *network);
/* The minimum over batch norms of values a channel per image (0: no batch norm). Images of a training pass times this
 * must be >= 2. */
size_t sd_network_batchnorm_values(const sd_network *network);

/* Draws all values from the counter-based RNG; equal on all ranks. */
void sd_network_initialise(sd_network *network, uint32_t seed);

/* Copies between a tensor's memory and PyTorch's layout (array: elems values). */
void sd_tensor_export(const sd_tensor *tensor, const float *memory, float *array);
void sd_tensor_import(const sd_tensor *tensor, const float *array, float *memory);

/* The name of the num_batches_tracked that follows a counted tensor: "bn1.num_batches_tracked" for "bn1.running_var".
 * Returns name. */
const char *sd_tensor_counter(const sd_tensor *tensor, char name[SD_COUNTER_BYTES]);

/* Multiplies each unit's branches F by a factor, in the values of the tensors that end them: factor F(x) = F'(x) up to
 * rounding, for any x. factor: [units]. Branches without a unit stay. */
void sd_network_scale_branches(sd_network *network, const float *factor);

/* The network's state_dict as PyTorch has it: every tensor as F32, and num_batches_tracked as I64, a scalar, of those
 * that are counted (the segment's kept_steps). A copy, which the caller frees by sd_weights_free(); no metadata.
 * SD_ERR_MEMORY. */
sd_status sd_network_state(sd_network *network, sd_weights *weights);

#ifdef __cplusplus
}
#endif
#endif
