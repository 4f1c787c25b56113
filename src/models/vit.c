/* SPDX-License-Identifier: Apache-2.0 */
/* Dosovitskiy et al. 2021, "An image is worth 16x16 words"; sizes of Touvron et al. 2021 (DeiT). Names as timm's
 * vision_transformer.py. */
#include <stdio.h>
#include <string.h>

#include "family.h"

enum { DEPTH = 12, MLP_RATIO = 4, MAX_PATCH_SIZE = 32 };

static const float EPSILON = 1e-6f; /* timm's, of layer norms */

typedef struct vit {
    const char *name;
    int dim, heads;
} vit;

/* NULL: no model has that name. */
static const vit *find(const char *name) {
    static const vit sizes[] = {{"vit_tiny", 192, 3}, {"vit_small", 384, 6}, {"vit_base", 768, 12}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (!strcmp(name, sizes[i].name))
            return &sizes[i];
    return NULL;
}

static sd_status add_attention(sd_network *network, const char *block, int unit, int heads) {
    const sd_attention_spec attention = {
        .heads = heads, .norm = "norm1", .qkv = {"attn.qkv"}, .projection = "attn.proj", .epsilon = EPSILON};
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = block, .unit = unit}));
    SD_TRY(sd_build_attention_branch(network, &attention));
    return sd_build_residual_end(network);
}

static sd_status add_mlp(sd_network *network, const char *block, int unit, int hidden) {
    const sd_mlp_spec mlp = {.hidden = hidden, .norm = "norm2", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .epsilon = EPSILON};
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = block, .unit = unit}));
    SD_TRY(sd_build_mlp_branch(network, &mlp));
    return sd_build_residual_end(network);
}

/* Two residuals, which are units of their own or one unit. */
static sd_status add_block(const sd_model_spec *spec, const vit *size, sd_network *network, const char *block,
                           int depth) {
    const bool apart = spec->unit == SD_UNIT_BRANCH;
    char name[SD_NAME_BYTES];
    int unit;
    snprintf(name, sizeof name, "%s%s", block, apart ? ".attn" : "");
    SD_TRY(sd_build_unit(network, name, depth, &unit));
    SD_TRY(add_attention(network, block, unit, size->heads));
    snprintf(name, sizeof name, "%s.mlp", block);
    if (apart)
        SD_TRY(sd_build_unit(network, name, depth, &unit));
    return add_mlp(network, block, unit, MLP_RATIO * size->dim);
}

static bool matches(const char *name) { return find(name) != NULL; }

static sd_stages stages_of(const char *name) {
    (void)name;
    return (sd_stages){.n = 1, .blocks = {DEPTH}};
}

static sd_status build(const sd_model_spec *spec, const sd_stages *stages, sd_network *network) {
    const vit *size = find(spec->name);
    if (spec->patch_size < 1 || spec->patch_size > MAX_PATCH_SIZE || spec->image_size % spec->patch_size)
        return sd_fail(SD_ERR_CONFIG, "model.patch_size: %d does not divide the image size %d, or is more than %d",
                       spec->patch_size, spec->image_size, MAX_PATCH_SIZE);
    const sd_shape image = {spec->image_size, spec->image_size, 3};
    SD_TRY(sd_build_patch_stem(network, image, size->dim, spec->patch_size));
    for (int i = 0; i < stages->blocks[0]; i++) {
        char block[32];
        snprintf(block, sizeof block, "blocks.%d", i);
        SD_TRY(add_block(spec, size, network, block, i + 1));
    }
    return sd_build_token_head(network, spec->dropout, EPSILON);
}

const sd_model_family sd_vit_family = {.matches = matches, .stages = stages_of, .build = build};
