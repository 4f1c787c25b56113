/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT_ELEMS = 16 };                 /* 64 bytes */
static const float STATISTICS_MOMENTUM = 0.1f; /* PyTorch's default */

static size_t aligned_elems(size_t elems) { return (elems + ALIGNMENT_ELEMS - 1) / ALIGNMENT_ELEMS * ALIGNMENT_ELEMS; }

/* ---- building ---- */

sd_status sd_network_create(const sd_kernels *kernels, int max_images, int classes, sd_network **network) {
    SD_TRY(sd_alloc(network, 1, sizeof **network));
    (*network)->kernels = kernels;
    (*network)->max_images = max_images;
    (*network)->threads = sd_kernels_threads();
    (*network)->classes = classes;
    return SD_OK;
}

sd_shape sd_network_shape(const sd_network *network) {
    return network->n_residuals ? network->residuals[network->n_residuals - 1]->out : network->stem.out;
}

sd_status sd_network_add_unit(sd_network *network, const char *name, int depth, int *unit) {
    sd_unit added = {.depth = depth};
    SD_TRY(sd_name_format(added.name, "%s", name));
    SD_TRY(sd_grow(&network->units, network->n_units, &network->units_capacity, sizeof *network->units));
    *unit = network->n_units++;
    network->units[*unit] = added;
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

void sd_network_want_scratch(sd_network *network, size_t elems) {
    if (elems > network->scratch_elems)
        network->scratch_elems = elems;
}

static void want(const sd_network *network, size_t elems_per_image, size_t *elems) {
    if (elems_per_image * (size_t)network->max_images > *elems)
        *elems = elems_per_image * (size_t)network->max_images;
}

void sd_network_want_work(sd_network *network, size_t elems_per_image) {
    want(network, elems_per_image, &network->work_elems);
}

void sd_network_want_gradient(sd_network *network, size_t elems_per_image) {
    want(network, elems_per_image, &network->gradient_elems);
}

void sd_network_want_gathered(sd_network *network, size_t elems_per_image) {
    want(network, elems_per_image, &network->gathered_elems);
}

/* Puts the segments into the order in which backward finishes them, the reverse of how they were built, and lays the buffer
 * out in that order. */
static void order_segments(sd_network *network) {
    const int n = network->n_segments;
    for (int i = 0; i < n / 2; i++) {
        sd_segment swap = network->segments[i];
        network->segments[i] = network->segments[n - 1 - i];
        network->segments[n - 1 - i] = swap;
    }
    network->stem.segment = n - 1 - network->stem.segment;
    network->head.segment = n - 1 - network->head.segment;
    for (int i = 0; i < network->n_residuals; i++) {
        sd_residual *residual = network->residuals[i];
        residual->branch_segment = n - 1 - residual->branch_segment;
        if (residual->shortcut_segment >= 0)
            residual->shortcut_segment = n - 1 - residual->shortcut_segment;
    }
    size_t offset = 0;
    for (int s = 0; s < n; s++) {
        network->segments[s].offset_elems = offset;
        offset += network->segments[s].elems;
        network->segments[s].elems = 0; /* counted anew as its tensors take their places */
    }
    network->buffer_elems = offset;
    for (int i = 0; i < network->n_tensors; i++) {
        sd_tensor *tensor = network->tensors[i];
        tensor->segment = n - 1 - tensor->segment;
        sd_segment *segment = &network->segments[tensor->segment];
        tensor->offset_elems = segment->offset_elems + segment->elems;
        segment->elems += aligned_elems(tensor->elems);
    }
}

sd_status sd_network_finish(sd_network *network) {
    order_segments(network);
    SD_TRY(sd_arena_reserve(&network->arena, &network->values, network->buffer_elems));
    SD_TRY(sd_arena_reserve(&network->arena, &network->gradients, network->buffer_elems));
    SD_TRY(sd_arena_reserve(&network->arena, &network->scratch, network->scratch_elems));
    for (int i = 0; i < SD_WORK_BUFFERS; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->work[i], network->work_elems));
    for (int i = 0; i < 2; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->gradient[i], network->gradient_elems));
    for (int i = 0; network->gathers && i < SD_GATHERED_BUFFERS; i++)
        SD_TRY(sd_arena_reserve(&network->arena, &network->gathered[i], network->gathered_elems));
    SD_TRY(sd_arena_commit(&network->arena));
    for (int i = 0; i < network->n_tensors; i++)
        network->tensors[i]->value = network->values + network->tensors[i]->offset_elems;
    sd_network_set_gradients(network, network->gradients);
    return SD_OK;
}

void sd_network_set_gradients(sd_network *network, float *gradients) {
    network->gradients = gradients;
    for (int i = 0; i < network->n_tensors; i++)
        network->tensors[i]->gradient = gradients + network->tensors[i]->offset_elems;
}

void sd_network_destroy(sd_network **place) {
    sd_network *network = *place;
    if (!network)
        return;
    for (int i = 0; i < network->n_tensors; i++)
        free(network->tensors[i]);
    for (int i = 0; i < network->n_residuals; i++)
        free(network->residuals[i]);
    free(network->tensors);
    free(network->residuals);
    free(network->segments);
    free(network->units);
    sd_arena_free(&network->arena);
    free(network);
    *place = NULL;
}

/* ---- passes ---- */

static sd_context context_of(const sd_network *network, const sd_pass *pass) {
    sd_context context = {
        .pass = pass, .k = network->kernels, .scratch = {.memory = network->scratch, .threads = network->threads}};
    memcpy(context.work, network->work, sizeof context.work);
    memcpy(context.gathered, network->gathered, sizeof context.gathered);
    return context;
}

const float *sd_network_forward(sd_network *network, const sd_pass *pass, const float *images) {
    const sd_context context = context_of(network, pass);
    network->stem.forward(&network->stem, &context, images, network->stem.y);
    const float *x = network->stem.y;
    for (int i = 0; i < network->n_residuals; i++)
        x = sd_residual_forward(network->residuals[i], &context, x);
    sd_head_forward(&network->head, &context, x);
    return network->head.logits;
}

/* What is awaited by whoever gets the gradient of the input of residual i (of the head's input: i = n_residuals). */
static sd_epilogue awaited_below(const sd_network *network, const sd_context *context, int i) {
    while (i > 0 && sd_residual_is_passed_by(network->residuals[i - 1], context))
        i--;
    return i > 0 ? sd_residual_awaits(network->residuals[i - 1], context) : network->stem.awaits(&network->stem);
}

void sd_network_backward(sd_network *network, const sd_pass *pass, const float *images, const float *dlogits,
                         sd_segment_done done, void *done_context) {
    const sd_context context = context_of(network, pass);
    const sd_shape last = sd_network_shape(network);
    float *dy = network->gradient[0], *dx = network->gradient[1];
    sd_epilogue awaited = awaited_below(network, &context, network->n_residuals);
    sd_head_backward(&network->head, &context, dlogits, dy);
    network->kernels->finish((size_t)pass->images * (size_t)last.h * (size_t)last.w, last.c, dy, &awaited,
                             context.scratch);
    done(done_context, network->head.segment);
    for (int i = network->n_residuals - 1; i >= 0; i--) {
        sd_residual *residual = network->residuals[i];
        if (sd_residual_is_passed_by(residual, &context)) {
            done(done_context, residual->branch_segment);
            continue;
        }
        awaited = awaited_below(network, &context, i);
        sd_residual_backward(residual, &context, dy, dx, &awaited, done, done_context);
        float *swap = dy;
        dy = dx;
        dx = swap;
    }
    network->stem.backward(&network->stem, &context, images, dy);
    done(done_context, network->stem.segment);
}

bool sd_segment_is_kept(const sd_segment *segment, const sd_drop_plan *plan) {
    return segment->unit < 0 || plan->kept[segment->unit];
}

void sd_network_update_statistics(sd_network *network, const sd_drop_plan *plan) {
    for (int i = 0; i < network->n_tensors; i++) {
        sd_tensor *tensor = network->tensors[i];
        if (tensor->kind != SD_TENSOR_STATISTIC || !sd_segment_is_kept(&network->segments[tensor->segment], plan))
            continue;
        for (size_t e = 0; e < tensor->elems; e++)
            tensor->value[e] += STATISTICS_MOMENTUM * tensor->gradient[e];
    }
    for (int i = 0; i < network->n_segments; i++)
        network->segments[i].kept_steps += sd_segment_is_kept(&network->segments[i], plan);
}

/* ---- the tables ---- */

int sd_network_n_tensors(const sd_network *network) { return network->n_tensors; }
const sd_tensor *sd_network_tensor(const sd_network *network, int i) { return network->tensors[i]; }
int sd_network_n_segments(const sd_network *network) { return network->n_segments; }
sd_segment *sd_network_segment(sd_network *network, int i) { return &network->segments[i]; }
int sd_network_n_units(const sd_network *network) { return network->n_units; }
const sd_unit *sd_network_unit(const sd_network *network, int i) { return &network->units[i]; }
int sd_network_blocks(const sd_network *network) { return network->blocks; }
int sd_network_classes(const sd_network *network) { return network->classes; }
float *sd_network_values(sd_network *network) { return network->values; }
float *sd_network_gradients(sd_network *network) { return network->gradients; }
size_t sd_network_buffer_elems(const sd_network *network) { return network->buffer_elems; }
size_t sd_network_parameters(const sd_network *network) { return network->parameters; }
double sd_network_flops(const sd_network *network) { return network->flops; }
size_t sd_network_batchnorm_values(const sd_network *network) { return network->batchnorm_values; }

size_t sd_network_activation_bytes(const sd_network *network) {
    return network->arena.bytes - 2 * network->buffer_elems * sizeof(float);
}
