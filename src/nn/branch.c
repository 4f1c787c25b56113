/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a transformer's branch. */
#include "branch.h"

#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* timm's init_weights_vit_timm, and Hugging Face's BERT */

static double flops_of(const sd_branch *branch, const sd_linear *layer) {
    return 2.0 * (branch->in.h * branch->in.w) * layer->in * layer->out;
}

/* ---- the first layer ---- */

sd_status sd_branch_first_init(sd_network *network, sd_branch *branch, sd_branch_first *layer, const char *norm,
                               float epsilon, int n, const char *const *names, int out) {
    const int tokens = branch->in.h * branch->in.w, in = branch->in.c;
    char full[SD_NAME_BYTES];
    layer->has_norm = norm != NULL;
    if (norm) {
        SD_TRY(sd_name_format(full, "%s.%s", network->open_name, norm));
        SD_TRY(sd_layernorm_init(network, &layer->norm, full, (size_t)tokens, in, epsilon));
    }
    for (int i = 0; i < n; i++) {
        SD_TRY(sd_name_format(full, "%s.%s", network->open_name, names[i]));
        SD_TRY(i == 0 ? sd_linear_init(network, &layer->linear, full, in, out, INIT_DEVIATION)
                      : sd_linear_widen(network, &layer->linear, full, out, INIT_DEVIATION));
    }
    branch->flops += flops_of(branch, &layer->linear);
    return SD_OK;
}

void sd_branch_first_forward(sd_branch_first *layer, const sd_context *context, size_t rows, const float *x, float *y) {
    if (!layer->has_norm) {
        sd_linear_forward(&layer->linear, context, rows, x, NULL, y, NULL);
        return;
    }
    const sd_map normalise = sd_layernorm_forward(&layer->norm, context, rows, x);
    sd_linear_forward(&layer->linear, context, rows, x, &normalise, y, NULL);
}

void sd_branch_first_backward(sd_branch_first *layer, const sd_context *context, size_t rows, const float *x, float *dy,
                              const sd_map *dy_map, float *dnormed, const float *shortcut, float *dx,
                              const sd_epilogue *epilogue) {
    if (layer->has_norm) {
        const sd_map normalise = sd_layernorm_map(&layer->norm, context);
        sd_linear_backward(&layer->linear, context, rows, x, &normalise, dy, dy_map, dnormed, NULL);
        sd_layernorm_backward(&layer->norm, context, rows, x, dnormed, shortcut, dx ? dx : dy);
    } else {
        const sd_map add = sd_map_add(shortcut, 1);
        sd_linear_backward(&layer->linear, context, rows, x, NULL, dy, dy_map, dx ? dx : dnormed, dx ? &add : NULL);
    }
    if (dx)
        context->k->apply_epilogue(rows, layer->linear.in, dx, epilogue, context->scratch);
}

sd_status sd_branch_first_describe(const sd_branch_first *layer, sd_graph *graph, int *value) {
    if (layer->has_norm)
        SD_TRY(sd_layernorm_describe(&layer->norm, graph, value));
    return sd_linear_describe(&layer->linear, graph, value);
}

/* ---- the last layer ---- */

sd_status sd_branch_last_init(sd_network *network, sd_branch *branch, sd_branch_last *layer, const char *name, int in,
                              double dropout) {
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", network->open_name, name));
    SD_TRY(sd_linear_init(network, &layer->linear, full, in, branch->out.c, INIT_DEVIATION));
    sd_dropout_init(network, &layer->dropout, dropout);
    layer->out = branch->out;
    layer->linear.weight->ends_branch = layer->linear.bias->ends_branch = true;
    branch->flops += flops_of(branch, &layer->linear);
    return SD_OK;
}

void sd_branch_last_forward(sd_branch_last *layer, const sd_context *context, size_t rows, const float *x,
                            const sd_map *x_map, const float *shortcut, float scale, float *y) {
    const sd_dropout dropout = sd_dropout_of(&layer->dropout, context);
    const sd_map add = sd_dropout_map(&dropout, layer->out, sd_map_add(shortcut, scale));
    sd_linear_forward(&layer->linear, context, rows, x, x_map, y, &add);
}

void sd_branch_last_backward(sd_branch_last *layer, const sd_context *context, size_t rows, const float *x,
                             const sd_map *x_map, const float *dy, float scale, float *dx) {
    const sd_dropout dropout = sd_dropout_of(&layer->dropout, context);
    const sd_map scaled = sd_dropout_map(&dropout, layer->out, sd_map_add(NULL, scale));
    sd_linear_backward(&layer->linear, context, rows, x, x_map, dy, &scaled, dx, NULL);
}

sd_status sd_branch_last_describe(const sd_branch_last *layer, sd_graph *graph, int *value) {
    return sd_linear_describe(&layer->linear, graph, value);
}
