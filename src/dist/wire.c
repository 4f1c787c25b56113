/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients as bf16: rounding, adding, and the statistics, which are not rounded. Single-threaded loops, which the
 * compiler vectorises: the thread that calls MPI must not start an OpenMP team beside the computing one. */
#include "wire.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "comm.h"
#include "sdtrain/arena.h"

sd_status sd_wire_create(const sd_network *network, bool restorable, sd_wire *wire) {
    wire->buffer_elems = sd_network_buffer_elems(network);
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->kind == SD_TENSOR_STATISTIC)
            wire->max_statistics_elems += sd_network_tensor(network, i)->elems;
    SD_TRY(sd_alloc_floats(&wire->error, wire->buffer_elems));
    if (restorable)
        SD_TRY(sd_alloc_floats(&wire->previous, wire->buffer_elems));
    SD_TRY(sd_alloc_floats(&wire->statistics, wire->max_statistics_elems));
    return sd_alloc(&wire->words, wire->buffer_elems, sizeof *wire->words);
}

void sd_wire_free(sd_wire *wire) {
    free(wire->error);
    free(wire->previous);
    free(wire->statistics);
    free(wire->words);
    *wire = (sd_wire){0};
}

size_t sd_wire_bytes(const sd_wire *wire) {
    return wire->buffer_elems *
               (sizeof *wire->error + sizeof *wire->words + (wire->previous ? sizeof *wire->previous : 0)) +
           wire->max_statistics_elems * sizeof *wire->statistics;
}

void sd_wire_compress(size_t n, const float *restrict gradient, float *restrict error, uint16_t *restrict words) {
    for (size_t i = 0; i < n; i++) {
        const float v = gradient[i] + error[i];
        words[i] = sd_bf16_of(v);
        const float rest = v - sd_bf16_value(words[i]); /* exact: the lower bits of v */
        error[i] = fabsf(rest) <= FLT_MAX ? rest : 0.0f;
    }
}

void sd_wire_add(size_t n, const uint16_t *restrict words, uint16_t *restrict sum) {
    for (size_t i = 0; i < n; i++)
        sum[i] = sd_bf16_of(sd_bf16_value(sum[i]) + sd_bf16_value(words[i]));
}

void sd_wire_sum(void *words, void *sum, int *n, MPI_Datatype *type) {
    (void)type;
    sd_wire_add((size_t)*n, words, sum);
}

void sd_wire_expand(size_t n, const uint16_t *restrict words, float *restrict gradient) {
    for (size_t i = 0; i < n; i++)
        gradient[i] = sd_bf16_value(words[i]);
}

void sd_wire_flush_error(size_t n, float *restrict gradient, float *restrict error) {
    for (size_t i = 0; i < n; i++) {
        gradient[i] += error[i];
        error[i] = 0;
    }
}

void sd_wire_note_error(sd_wire *wire, const sd_segment *segment) {
    if (wire->previous)
        memcpy(wire->previous + segment->offset_elems, wire->error + segment->offset_elems,
               segment->elems * sizeof *wire->error);
}

void sd_wire_restore_error(sd_wire *wire, const sd_network *network, const sd_drop_plan *plan) {
    for (int i = 0; wire->previous && i < sd_network_n_segments(network); i++) {
        const sd_segment *segment = sd_network_segment(network, i);
        if (sd_segment_is_trained(segment, plan))
            memcpy(wire->error + segment->offset_elems, wire->previous + segment->offset_elems,
                   segment->elems * sizeof *wire->error);
    }
}

void sd_wire_take_statistics(sd_wire *wire, sd_network *network, const sd_drop_plan *plan, const sd_drop_part *part) {
    float *next = wire->statistics;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const sd_segment *segment = sd_network_segment(network, tensor->segment);
        const size_t bytes = tensor->elems * sizeof(float);
        float *gradient = sd_network_gradients(network) + tensor->offset_elems;
        if (tensor->kind != SD_TENSOR_STATISTIC || tensor->frozen || !sd_segment_is_kept(segment, plan))
            continue;
        if (sd_is_computed_here(segment, plan, part))
            memcpy(next, gradient, bytes);
        else
            memset(next, 0, bytes);
        memset(gradient, 0, bytes);
        next += tensor->elems;
    }
    wire->statistics_elems = (size_t)(next - wire->statistics);
}

void sd_wire_return_statistics(const sd_wire *wire, sd_network *network, const sd_drop_plan *plan) {
    const float *next = wire->statistics;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (tensor->kind != SD_TENSOR_STATISTIC || tensor->frozen ||
            !sd_segment_is_kept(sd_network_segment(network, tensor->segment), plan))
            continue;
        memcpy(sd_network_gradients(network) + tensor->offset_elems, next, tensor->elems * sizeof(float));
        next += tensor->elems;
    }
}
