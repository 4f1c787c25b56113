/* SPDX-License-Identifier: Apache-2.0 */
/* Private: a network, and what the constructors of nodes, branches and layers (sdtrain/build.h) share. */
#ifndef SDTRAIN_NN_NETWORK_H
#define SDTRAIN_NN_NETWORK_H

#include "branch.h"
#include "node.h"
#include "sdtrain/arena.h"

struct sd_network {
    const sd_kernels *kernels;
    sd_network_spec spec;
    int threads; /* that scratch is taken for, and so the most that a pass runs on */
    int blocks;
    sd_node **nodes; /* from the stem to the head */
    int n_nodes, nodes_capacity;
    sd_tensor **tensors;
    int n_tensors, tensors_capacity;
    sd_segment *segments; /* in the order in which they are built, until finish puts them into backward's order */
    int n_segments, segments_capacity;
    sd_unit *units;
    int n_units, units_capacity;
    float *values, *gradients;
    size_t buffer_elems, parameters, batchnorm_values;
    double flops;
    sd_arena arena;
    /* The largest any layer asked for, all but the first for all images. */
    size_t scratch_elems, work_elems, gradient_elems, gathered_elems;
    float *scratch, *work[SD_WORK_BUFFERS], *gradient[2], *gathered[SD_GATHERED_BUFFERS];

    /* While it is built. */
    void **owned; /* memory of nodes and branches */
    int n_owned, owned_capacity;
    int open_segment; /* new tensors belong to it */
    bool is_open;     /* the last node has not ended */
    bool has_head;
    bool takes_branch, branch_needs_relu;
    char open_name[SD_NAME_BYTES]; /* of the block under way */
    sd_branch *branch;             /* that it has got */
};

/* Formats a name as printf does. SD_ERR_INTERNAL, with the name, if it has SD_NAME_BYTES characters or more. */
sd_status sd_name_format(char name[SD_NAME_BYTES], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- for constructors of nodes ---- */

/* A node of this kind and so many bytes, which begin with an sd_node, behind the others; it opens a segment of the
 * unit. in: the shape so far, or the image. place: where the pointer goes; the network frees it. The node ends with
 * one of the functions below. */
sd_status sd_network_add_node(sd_network *network, const sd_node_kind *kind, size_t bytes, int unit, void *place);
sd_status sd_network_add_stem(sd_network *network, const sd_node_kind *kind, size_t bytes, sd_shape image, void *place);
/* Plans its output, and the gradient of that. */
sd_status sd_network_end_node(sd_network *network, sd_node *node, sd_shape out);
/* The same where the output are logits. */
sd_status sd_network_end_head(sd_network *network, sd_node *node);
/* The node under way, if it is of this kind, else NULL. */
sd_node *sd_network_last_node(const sd_network *network, const sd_node_kind *kind);
/* From open to close one branch is built. name: of the block. */
sd_status sd_network_open_branch(sd_network *network, const char *name, bool relu);
sd_status sd_network_close_branch(sd_network *network, sd_branch **branch);

/* ---- for constructors of branches ---- */

/* A branch for the node under way, of so many bytes, which begin with an sd_branch. */
sd_status sd_network_add_branch(sd_network *network, const sd_branch_kind *kind, size_t bytes, void *place);

/* ---- for all ---- */

/* The tensor is called <name>.<suffix>, or <suffix> where name is NULL. Initial values: see sd_tensor; an entry of
 * zeros is zeros. SD_ERR_INTERNAL if the name is too long or taken. */
sd_status sd_network_add_tensor(sd_network *network, sd_tensor tensor, const char *name, const char *suffix,
                                sd_tensor **added);
/* unit: see sd_segment. Segments are numbered in the order in which they are opened. */
sd_status sd_network_open_segment(sd_network *network, int unit, int *segment);
/* An activation: so many floats for each image of a pass. */
sd_status sd_network_reserve(sd_network *network, float **place, size_t elems_per_image);
/* What buffers of sd_context hold at least. */
void sd_network_want_scratch(sd_network *network, size_t elems);
void sd_network_want_work(sd_network *network, size_t elems_per_image);
void sd_network_want_gathered(sd_network *network, size_t elems_per_image);

/* some[i] = all[places[i]], and all[places[i]] = some[i]; elems: of an image. */
void sd_gather(int images, const uint32_t *places, size_t elems, const float *all, float *some);
void sd_scatter(int images, const uint32_t *places, size_t elems, const float *some, float *all);
/* to[i] = from[i], then max(., 0) if relu, for the images of the pass whose places are not listed. to may be from. */
void sd_fill_rest(const sd_context *context, int images, const uint32_t *places, sd_shape shape, const float *from,
                  bool relu, float *to);

#endif
