/* SPDX-License-Identifier: Apache-2.0 */
/* Building a network: nodes, units, segments and tensors are added, then laid out in memory. */
#include <stdlib.h>
#include <string.h>

#include "network.h"

enum { ALIGNMENT_ELEMS = 16 }; /* 64 bytes */

static size_t aligned_elems(size_t elems) { return (elems + ALIGNMENT_ELEMS - 1) / ALIGNMENT_ELEMS * ALIGNMENT_ELEMS; }

sd_status sd_network_create(const sd_kernels *kernels, const sd_network_spec *spec, sd_network **network) {
    SD_TRY(sd_alloc(network, 1, sizeof **network));
    (*network)->kernels = kernels;
    (*network)->spec = *spec;
    (*network)->threads = sd_kernels_threads();
    return SD_OK;
}

void sd_network_destroy(sd_network **place) {
    sd_network *network = *place;
    if (!network)
        return;
    for (int i = 0; i < network->n_tensors; i++)
        free(network->tensors[i]);
    for (int i = 0; i < network->n_owned; i++)
        free(network->owned[i]);
    free(network->tensors);
    free(network->owned);
    free(network->nodes);
    free(network->segments);
    free(network->units);
    free(network->norms);
    sd_arena_free(&network->arena);
    free(network);
    *place = NULL;
}

/* Allocates memory that sd_network_destroy() frees. */
static sd_status own(sd_network *network, size_t bytes, void *place) {
    SD_TRY(sd_grow(&network->owned, network->n_owned, &network->owned_capacity, sizeof *network->owned));
    SD_TRY(sd_alloc(&network->owned[network->n_owned], 1, bytes));
    memcpy(place, &network->owned[network->n_owned++], sizeof(void *));
    return SD_OK;
}

/* ---- memory ---- */

static void want(const sd_network *network, size_t elems_per_image, size_t *elems) {
    if (elems_per_image * (size_t)network->spec.max_images > *elems)
        *elems = elems_per_image * (size_t)network->spec.max_images;
}

void sd_network_want_scratch(sd_network *network, size_t elems) {
    if (elems > network->scratch_elems)
        network->scratch_elems = elems;
}

void sd_network_want_work(sd_network *network, size_t elems_per_image) {
    want(network, elems_per_image, &network->work_elems);
}

void sd_network_want_gathered(sd_network *network, size_t elems_per_image) {
    want(network, elems_per_image, &network->gathered_elems);
}

sd_status sd_network_reserve(sd_network *network, float **place, size_t elems_per_image) {
    return sd_arena_reserve(&network->arena, place, elems_per_image * (size_t)network->spec.max_images);
}

/* ---- nodes and branches ---- */

sd_shape sd_network_shape(const sd_network *network) { return network->nodes[network->n_nodes - 1]->out; }

static sd_status add_node(sd_network *network, const sd_node_kind *kind, size_t bytes, sd_shape in, int unit, int layer,
                          void *place) {
    sd_node *node;
    SD_TRY(sd_grow(&network->nodes, network->n_nodes, &network->nodes_capacity, sizeof *network->nodes));
    SD_TRY(own(network, bytes, &node));
    memcpy(place, &node, sizeof node);
    node->kind = kind;
    node->in = in;
    network->nodes[network->n_nodes++] = node;
    network->is_open = true;
    network->open_layer = layer;
    return sd_network_open_segment(network, unit, &node->segment);
}

sd_status sd_network_add_node(sd_network *network, const sd_node_kind *kind, size_t bytes, int unit, void *place) {
    if (network->n_nodes == 0)
        return sd_fail(SD_ERR_INTERNAL, "a network begins with a stem");
    if (network->is_open)
        return sd_fail(SD_ERR_INTERNAL, "a node begins before '%s' has ended", network->open_name);
    int layer = network->depth + 1;
    if (unit >= 0)
        layer = network->depth = network->units[unit].depth;
    return add_node(network, kind, bytes, sd_network_shape(network), unit, layer, place);
}

sd_status sd_network_add_stem(sd_network *network, const sd_node_kind *kind, size_t bytes, sd_shape image,
                              void *place) {
    if (network->n_nodes > 0)
        return sd_fail(SD_ERR_INTERNAL, "a network has one stem, at its beginning");
    return add_node(network, kind, bytes, image, -1, 0, place);
}

sd_node *sd_network_last_node(const sd_network *network, const sd_node_kind *kind) {
    sd_node *last = network->is_open ? network->nodes[network->n_nodes - 1] : NULL;
    return last && last->kind == kind ? last : NULL;
}

sd_status sd_network_end_node(sd_network *network, sd_node *node, sd_shape out) {
    node->out = out;
    network->is_open = false;
    want(network, sd_shape_elems(out), &network->gradient_elems);
    return sd_network_reserve(network, &node->y, sd_shape_elems(out));
}

sd_status sd_network_end_head(sd_network *network, sd_node *node, int rows) {
    node->out = (sd_shape){rows, 1, network->spec.classes};
    network->is_open = false;
    network->has_head = true;
    return sd_network_reserve(network, &node->y, sd_shape_elems(node->out));
}

sd_status sd_network_open_branch(sd_network *network, const char *name, bool relu) {
    network->takes_branch = true;
    network->branch_needs_relu = relu;
    network->branch = NULL;
    return sd_name_format(network->open_name, "%s", name);
}

sd_status sd_network_add_branch(sd_network *network, const sd_branch_kind *kind, size_t bytes, void *place) {
    if (!network->takes_branch)
        return sd_fail(SD_ERR_INTERNAL, "a branch is built within a residual or a transition, one in each");
    if (network->branch_needs_relu && !kind->has_relu)
        return sd_fail(SD_ERR_INTERNAL, "%s: no ReLU can follow this kind of branch", network->open_name);
    SD_TRY(own(network, bytes, &network->branch));
    memcpy(place, &network->branch, sizeof network->branch);
    network->branch->kind = kind;
    network->branch->in = network->nodes[network->n_nodes - 1]->in;
    network->takes_branch = false;
    return SD_OK;
}

sd_status sd_network_close_branch(sd_network *network, sd_branch **branch) {
    if (!network->branch)
        return sd_fail(SD_ERR_INTERNAL, "%s: it has no branch", network->open_name);
    *branch = network->branch;
    network->branch = NULL;
    return SD_OK;
}

/* ---- units, segments, tensors ---- */

sd_status sd_build_unit(sd_network *network, const char *name, int depth, int *unit) {
    sd_unit added = {.depth = depth};
    SD_TRY(sd_name_format(added.name, "%s", name));
    SD_TRY(sd_grow(&network->units, network->n_units, &network->units_capacity, sizeof *network->units));
    *unit = network->n_units++;
    network->units[*unit] = added;
    if (depth > network->blocks)
        network->blocks = depth;
    return SD_OK;
}

sd_status sd_network_open_segment(sd_network *network, int unit, int *segment) {
    SD_TRY(sd_grow(&network->segments, network->n_segments, &network->segments_capacity, sizeof *network->segments));
    network->open_segment = *segment = network->n_segments++;
    network->segments[*segment] = (sd_segment){.unit = unit};
    return SD_OK;
}

static sd_status check_is_free(const sd_network *network, const char *name) {
    for (int i = 0; i < network->n_tensors; i++)
        if (!strcmp(network->tensors[i]->name, name))
            return sd_fail(SD_ERR_INTERNAL, "the model has two tensors named '%s': a checkpoint can hold only one",
                           name);
    return SD_OK;
}

sd_status sd_network_add_tensor(sd_network *network, sd_tensor tensor, const char *name, const char *suffix,
                                sd_tensor **added) {
    SD_TRY(sd_name_format(tensor.name, "%s%s%s", name ? name : "", name ? "." : "", suffix));
    SD_TRY(check_is_free(network, tensor.name));
    SD_TRY(sd_grow(&network->tensors, network->n_tensors, &network->tensors_capacity, sizeof *network->tensors));
    SD_TRY(sd_alloc(added, 1, sizeof **added));
    network->tensors[network->n_tensors++] = *added;
    tensor.elems = 1;
    for (int i = 0; i < tensor.dims; i++)
        tensor.elems *= (size_t)tensor.shape[i];
    tensor.segment = network->open_segment;
    tensor.layer = network->open_layer;
    sd_segment *segment = &network->segments[tensor.segment];
    segment->elems += aligned_elems(tensor.elems);
    if (tensor.kind == SD_TENSOR_PARAMETER) {
        segment->parameter_elems += tensor.elems;
        network->parameters += tensor.elems;
        if (segment->unit >= 0)
            network->units[segment->unit].parameters += tensor.elems;
    }
    **added = tensor;
    return SD_OK;
}

sd_status sd_network_join(sd_tensor *tensor, sd_tensor *next) {
    if (tensor->elems % ALIGNMENT_ELEMS)
        return sd_fail(SD_ERR_INTERNAL,
                       "%s: no tensor can follow its %zu values without a gap: they are no multiple of %d",
                       tensor->name, tensor->elems, ALIGNMENT_ELEMS);
    tensor->next = next;
    next->is_next = true;
    return SD_OK;
}

/* ---- the end ---- */

/* At the end of what is placed of its segment, and behind it the tensors joined to it. */
static void place(sd_network *network, sd_tensor *tensor) {
    for (; tensor; tensor = tensor->next) {
        sd_segment *segment = &network->segments[tensor->segment];
        tensor->offset_elems = segment->offset_elems + segment->elems;
        segment->elems += aligned_elems(tensor->elems);
    }
}

/* Puts the segments into the order in which backward finishes them, the reverse of how they were built, and lays the
 * buffer out in that order. */
static void order_segments(sd_network *network) {
    const int n = network->n_segments;
    for (int i = 0; i < n / 2; i++) {
        sd_segment swap = network->segments[i];
        network->segments[i] = network->segments[n - 1 - i];
        network->segments[n - 1 - i] = swap;
    }
    size_t offset = 0;
    for (int s = 0; s < n; s++) {
        network->segments[s].offset_elems = offset;
        offset += network->segments[s].elems;
        network->segments[s].elems = 0; /* recounted while its tensors get offsets */
    }
    network->buffer_elems = offset;
    for (int i = 0; i < network->n_tensors; i++)
        network->tensors[i]->segment = n - 1 - network->tensors[i]->segment;
    for (int i = 0; i < network->n_tensors; i++)
        if (!network->tensors[i]->is_next)
            place(network, network->tensors[i]);
}

sd_status sd_network_finish(sd_network *network) {
    if (network->is_open || !network->has_head)
        return sd_fail(SD_ERR_INTERNAL, "a network ends with a head");
    order_segments(network);
    SD_TRY(sd_arena_reserve(&network->arena, &network->values, network->buffer_elems));
    SD_TRY(sd_arena_reserve(&network->arena, &network->gradients, network->buffer_elems));
    SD_TRY(sd_arena_reserve(&network->arena, &network->scratch, network->scratch_elems));
    for (int i = 0; i < SD_WORK_BUFFERS; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->work[i], network->work_elems));
    for (int i = 0; i < 2; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->gradient[i], network->gradient_elems));
    for (int i = 0; network->spec.gathers && i < SD_GATHERED_BUFFERS; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->gathered[i], network->gathered_elems));
    if (network->spec.gathers)
        SD_TRY(own(network, (size_t)network->spec.max_images * sizeof(int32_t), &network->gathered_lengths));
    return sd_arena_commit(&network->arena);
}
