/* SPDX-License-Identifier: Apache-2.0 */
/* Dosovitskiy et al. 2021, "An image is worth 16x16 words"; sizes of Touvron et al. 2021 (DeiT). Names as timm's
 * vision_transformer.py. */
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { DEPTH = 12, MLP_RATIO = 4, MAX_PATCH_SIZE = 32 };

/* A residual around one branch of the block; attention if heads > 0, else MLP. */
static sd_status add_residual(sd_network *network, const char *block, int depth, int unit, int heads) {
    const sd_shape shape = sd_network_shape(network);
    sd_residual *residual;
    SD_TRY(sd_network_open_residual(network, (sd_residual_spec){.depth = depth, .unit = unit}, &residual));
    if (heads > 0)
        SD_TRY(sd_attention_branch_init(network, &residual->branch, block, shape, heads));
    else
        SD_TRY(sd_mlp_branch_init(network, &residual->branch, block, shape, MLP_RATIO * shape.c));
    return sd_network_close_residual(network, residual, block, shape);
}

typedef struct vit {
    const char *name;
    int dim, heads;
} vit;

/* NULL: there is none of that name. */
static const vit *find(const char *name) {
    static const vit sizes[] = {{"vit_tiny", 192, 3}, {"vit_small", 384, 6}, {"vit_base", 768, 12}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (!strcmp(name, sizes[i].name))
            return &sizes[i];
    return NULL;
}

static bool matches(const char *name) { return find(name) != NULL; }

static sd_status build(const sd_model_spec *spec, sd_network *network) {
    const vit *size = find(spec->name);
    if (spec->patch_size < 1 || spec->patch_size > MAX_PATCH_SIZE || spec->image_size % spec->patch_size)
        return sd_fail(SD_ERR_CONFIG, "model.patch_size: %d does not divide the image size %d, or is more than %d",
                       spec->patch_size, spec->image_size, MAX_PATCH_SIZE);
    SD_TRY(
        sd_network_stem_patch(network, (sd_shape){spec->image_size, spec->image_size, 3}, size->dim, spec->patch_size));
    for (int i = 0; i < DEPTH; i++) {
        char block[32], name[SD_NAME_BYTES];
        int unit;
        snprintf(block, sizeof block, "blocks.%d", i);
        snprintf(name, sizeof name, "%s%s", block, spec->unit == SD_UNIT_BRANCH ? ".attn" : "");
        SD_TRY(sd_network_add_unit(network, name, i + 1, &unit));
        SD_TRY(add_residual(network, block, i + 1, unit, size->heads));
        snprintf(name, sizeof name, "%s.mlp", block);
        if (spec->unit == SD_UNIT_BRANCH)
            SD_TRY(sd_network_add_unit(network, name, i + 1, &unit));
        SD_TRY(add_residual(network, block, i + 1, unit, 0));
    }
    return sd_network_head_token(network, spec->dropout);
}

const sd_model_family sd_vit_family = {matches, build};
