/* SPDX-License-Identifier: Apache-2.0 */
/* Private: a network, and the functions that constructors of nodes, branches and layers (sdtrain/build.h) call. */
#ifndef SDTRAIN_NN_NETWORK_H
#define SDTRAIN_NN_NETWORK_H

#include "branch.h"
#include "node.h"
#include "sdtrain/arena.h"

struct sd_network {
    const sd_kernels *kernels;
    sd_network_spec spec;
    int threads; /* that scratch is allocated for: the most that a pass runs on */
    int blocks;
    sd_node **nodes; /* from the stem to the head */
    int n_nodes, nodes_capacity;
    sd_tensor **tensors;
    int n_tensors, tensors_capacity;
    sd_segment *segments; /* in order of construction; from finish on in backward order */
    int n_segments, segments_capacity;
    sd_unit *units;
    int n_units, units_capacity;
    float *values, *gradients;
    size_t buffer_elems, parameters, batchnorm_values;
    sd_conv_bn **norms; /* all batch norms */
    int n_norms, norms_capacity;
    int last_node; /* of a backward pass: the lowest with a segment that is not frozen */
    double flops;
    uint32_t n_dropouts; /* places of the network where elements are dropped (sd_dropout_layer) */
    sd_arena arena;
    /* Maxima over layers; all but scratch_elems for max_images images. */
    size_t scratch_elems, work_elems, gradient_elems, gathered_elems;
    float *scratch, *work[SD_WORK_BUFFERS], *gradient[2], *gathered[SD_GATHERED_BUFFERS];
    int32_t *gathered_lengths;

    /* During construction: */
    void **owned; /* memory of nodes and branches */
    int n_owned, owned_capacity;
    int open_segment; /* of new tensors */
    int open_layer;   /* of new tensors (sd_tensor.layer) */
    int depth;        /* of the last node's unit */
    bool is_open;     /* the last node is under construction */
    bool has_head;
    bool takes_branch, branch_needs_relu;
    char open_name[SD_NAME_BYTES]; /* of the block of the open branch */
    sd_branch *branch;             /* the one added since open, or NULL */
};

/* Formats a name as printf does. SD_ERR_INTERNAL, with the name, if it has SD_NAME_BYTES characters or more. */
sd_status sd_name_format(char name[SD_NAME_BYTES], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- for constructors of nodes ---- */

/* Appends a node of this kind and opens a segment of the unit. bytes: of the kind's struct, which begins with an
 * sd_node; place: address of the pointer to it; the network frees it. Its input shape is that of the last node's
 * output, or image. Complete it by one of the next two functions. */
sd_status sd_network_add_node(sd_network *network, const sd_node_kind *kind, size_t bytes, int unit, void *place);
sd_status sd_network_add_stem(sd_network *network, const sd_node_kind *kind, size_t bytes, sd_shape image, void *place);
/* Reserves the node's output and the gradient of the output. */
sd_status sd_network_end_node(sd_network *network, sd_node *node, sd_shape out);
/* Likewise for a head, whose output are logits: at most so many rows of an image. */
sd_status sd_network_end_head(sd_network *network, sd_node *node, int rows);
/* The node under construction if it is of this kind, else NULL. */
sd_node *sd_network_last_node(const sd_network *network, const sd_node_kind *kind);
/* Between open and close exactly one branch is added. name: of the block. */
sd_status sd_network_open_branch(sd_network *network, const char *name, bool relu);
sd_status sd_network_close_branch(sd_network *network, sd_branch **branch);

/* ---- for constructors of branches ---- */

/* Adds a branch to the open node. bytes: of the kind's struct, which begins with an sd_branch; place: address of the
 * pointer to it. */
sd_status sd_network_add_branch(sd_network *network, const sd_branch_kind *kind, size_t bytes, void *place);

/* ---- for all ---- */

/* Adds a tensor named <name>.<suffix>, or <suffix> if name is NULL. Initial values: see sd_tensor; zeros by default.
 * SD_ERR_INTERNAL if the name is too long or taken. */
sd_status sd_network_add_tensor(sd_network *network, sd_tensor tensor, const char *name, const char *suffix,
                                sd_tensor **added);
/* Lays `next`, of the same segment, directly behind `tensor`, which has a whole number of 64-byte lines.
 * SD_ERR_INTERNAL if it has not. */
sd_status sd_network_join(sd_tensor *tensor, sd_tensor *next);
/* unit: see sd_segment. Segments are numbered in order of opening. */
sd_status sd_network_open_segment(sd_network *network, int unit, int *segment);
/* Reserves an activation: [max_images, elems_per_image]. */
sd_status sd_network_reserve(sd_network *network, float **place, size_t elems_per_image);
/* Minimal sizes of the buffers of sd_context. */
void sd_network_want_scratch(sd_network *network, size_t elems);
void sd_network_want_work(sd_network *network, size_t elems_per_image);
void sd_network_want_gathered(sd_network *network, size_t elems_per_image);

/* some[i] = all[places[i]]; all[places[i]] = some[i]. elems: per image. */
void sd_gather(int images, const uint32_t *places, size_t elems, const float *all, float *some);
void sd_scatter(int images, const uint32_t *places, size_t elems, const float *some, float *all);
void sd_gather_lengths(int images, const uint32_t *places, const int32_t *all, int32_t *some);
/* Copies the first token of each image of the pass, [images, in] -> [images, c]; and its gradient back, the other
 * tokens' being 0. */
void sd_first_tokens(const sd_context *context, sd_shape in, const float *x, float *tokens);
void sd_first_tokens_backward(const sd_context *context, sd_shape in, const float *dtokens, float *dx);
/* to[i] = from[i], then max(., 0) if relu, for all images i of the pass that are not in places. to may be from. */
void sd_fill_rest(const sd_context *context, int images, const uint32_t *places, sd_shape shape, const float *from,
                  bool relu, float *to);

#endif
