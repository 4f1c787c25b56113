/* SPDX-License-Identifier: Apache-2.0 */
/* Layers of transformer branches, for their constructors. */
#include "branch.h"
#include "network.h"

static const float INIT_DEVIATION = 0.02f; /* timm's init_weights_vit_timm */

sd_status sd_branch_add_norm(sd_network *network, sd_branch *branch, sd_layernorm *layer, const char *name,
                             float epsilon) {
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", network->open_name, name));
    return sd_layernorm_init(network, layer, full, (size_t)branch->in.h * (size_t)branch->in.w, branch->in.c, epsilon);
}

sd_status sd_branch_add_linear(sd_network *network, sd_branch *branch, sd_linear *layer, const char *name, int in,
                               int out) {
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", network->open_name, name));
    branch->flops += 2.0 * (branch->in.h * branch->in.w) * in * out;
    return sd_linear_init(network, layer, full, in, out, INIT_DEVIATION);
}
