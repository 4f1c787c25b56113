/* SPDX-License-Identifier: Apache-2.0 */
/* The two branches of a pre-norm transformer block (Dosovitskiy et al. 2021; names as timm's Block). */
#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* timm's init_weights_vit_timm */

static size_t rows_of(const sd_context *context, int tokens) { return (size_t)context->pass->images * (size_t)tokens; }

static sd_epilogue no_sums(const sd_branch *branch) {
    (void)branch;
    return (sd_epilogue){0};
}

static void attention_forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut,
                              float scale, bool relu, float *y) {
    (void)relu; /* a pre-norm block has none */
    const size_t rows = rows_of(context, branch->attention.tokens);
    const sd_map normalise = sd_layernorm_forward(&branch->attention.norm, context, rows, x);
    const sd_map add = {.kind = SD_MAP_ADD, .other = shortcut, .scale = scale};
    sd_linear_forward(&branch->attention.qkv, context, rows, x, &normalise, branch->attention.queries_keys_values,
                      NULL);
    context->k->attention_forward(context->pass->images, branch->attention.tokens, branch->attention.heads,
                                  branch->attention.head_dim, branch->attention.queries_keys_values,
                                  branch->attention.mixed, context->scratch);
    sd_linear_forward(&branch->attention.projection, context, rows, branch->attention.mixed, NULL, y, &add);
}

static void attention_backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy,
                               float scale, const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    const size_t rows = rows_of(context, branch->attention.tokens);
    const sd_map normalise = sd_layernorm_map(&branch->attention.norm);
    const sd_map scaled = {.kind = SD_MAP_SCALE, .scale = scale};
    float *dmixed = context->work[0], *dqkv = context->work[1], *dnormed = context->work[0];
    sd_linear_backward(&branch->attention.projection, context, rows, branch->attention.mixed, NULL, dy, &scaled, dmixed,
                       NULL);
    context->k->attention_backward(context->pass->images, branch->attention.tokens, branch->attention.heads,
                                   branch->attention.head_dim, branch->attention.queries_keys_values, dmixed, dqkv,
                                   context->scratch);
    sd_linear_backward(&branch->attention.qkv, context, rows, x, &normalise, dqkv, NULL, dnormed, NULL);
    sd_layernorm_backward(&branch->attention.norm, context, rows, x, dnormed, shortcut, dx);
    context->k->finish(rows, branch->attention.norm.c, dx, epilogue, context->scratch);
}

static void mlp_forward(sd_branch *branch, const sd_context *context, const float *x, const float *shortcut,
                        float scale, bool relu, float *y) {
    (void)relu;
    const size_t rows = rows_of(context, branch->mlp.tokens);
    const sd_map normalise = sd_layernorm_forward(&branch->mlp.norm, context, rows, x);
    const sd_map gelu = {.kind = SD_MAP_GELU}, add = {.kind = SD_MAP_ADD, .other = shortcut, .scale = scale};
    sd_linear_forward(&branch->mlp.fc1, context, rows, x, &normalise, branch->mlp.hidden, NULL);
    sd_linear_forward(&branch->mlp.fc2, context, rows, branch->mlp.hidden, &gelu, y, &add);
}

static void mlp_backward(sd_branch *branch, const sd_context *context, const float *x, const float *dy, float scale,
                         const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    const size_t rows = rows_of(context, branch->mlp.tokens);
    const sd_map normalise = sd_layernorm_map(&branch->mlp.norm);
    const sd_map scaled = {.kind = SD_MAP_SCALE, .scale = scale}, gelu = {.kind = SD_MAP_GELU};
    const sd_map gelu_backward = {.kind = SD_MAP_GELU_BACKWARD, .other = branch->mlp.hidden};
    float *dhidden = context->work[0], *dnormed = context->work[1];
    sd_linear_backward(&branch->mlp.fc2, context, rows, branch->mlp.hidden, &gelu, dy, &scaled, dhidden, NULL);
    sd_linear_backward(&branch->mlp.fc1, context, rows, x, &normalise, dhidden, &gelu_backward, dnormed, NULL);
    sd_layernorm_backward(&branch->mlp.norm, context, rows, x, dnormed, shortcut, dx);
    context->k->finish(rows, branch->mlp.norm.c, dx, epilogue, context->scratch);
}

static const sd_branch_kind attention_kind = {attention_forward, no_sums, attention_backward};
static const sd_branch_kind mlp_kind = {mlp_forward, no_sums, mlp_backward};

/* Plans an activation of elems floats an image, whose gradient needs working memory too. */
static sd_status plan(sd_network *network, float **place, size_t elems) {
    sd_network_want_work(network, elems);
    return sd_arena_reserve(&network->arena, place, elems * (size_t)network->max_images);
}

static sd_status linear_init(sd_network *network, sd_branch *branch, sd_linear *layer, const char *block,
                             const char *name, int tokens, int in, int out) {
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", block, name));
    branch->flops += 2.0 * tokens * in * out;
    return sd_linear_init(network, layer, full, in, out, INIT_DEVIATION);
}

static sd_status norm_init(sd_network *network, sd_layernorm *layer, const char *block, const char *name, sd_shape in) {
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", block, name));
    return sd_layernorm_init(network, layer, full, (size_t)in.h, in.c);
}

sd_status sd_attention_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int heads) {
    const size_t tokens = (size_t)in.h, width = (size_t)in.c;
    branch->kind = &attention_kind;
    branch->attention.tokens = in.h;
    branch->attention.heads = heads;
    branch->attention.head_dim = in.c / heads;
    SD_TRY(norm_init(network, &branch->attention.norm, name, "norm1", in));
    SD_TRY(linear_init(network, branch, &branch->attention.qkv, name, "attn.qkv", in.h, in.c, 3 * in.c));
    SD_TRY(linear_init(network, branch, &branch->attention.projection, name, "attn.proj", in.h, in.c, in.c));
    branch->flops += 2 * 2.0 * in.h * in.h * in.c; /* Q K^T and P V */
    sd_network_want_scratch(network, sd_attention_scratch_elems(in.h, branch->attention.head_dim, network->threads));
    SD_TRY(plan(network, &branch->attention.queries_keys_values, tokens * 3 * width));
    return plan(network, &branch->attention.mixed, tokens * width);
}

sd_status sd_mlp_branch_init(sd_network *network, sd_branch *branch, const char *name, sd_shape in, int hidden) {
    const size_t tokens = (size_t)in.h;
    branch->kind = &mlp_kind;
    branch->mlp.tokens = in.h;
    SD_TRY(norm_init(network, &branch->mlp.norm, name, "norm2", in));
    SD_TRY(linear_init(network, branch, &branch->mlp.fc1, name, "mlp.fc1", in.h, in.c, hidden));
    SD_TRY(linear_init(network, branch, &branch->mlp.fc2, name, "mlp.fc2", in.h, hidden, in.c));
    return plan(network, &branch->mlp.hidden, tokens * (size_t)hidden);
}
