/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

static const sd_model_family *find_family(const char *name) {
    static const sd_model_family *const families[] = {&sd_resnet_family, &sd_vit_family};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (families[i]->matches(name))
            return families[i];
    return NULL;
}

sd_status sd_model_outline(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network) {
    const sd_model_family *family = find_family(spec->name);
    *network = NULL;
    if (!family)
        return sd_fail(
            SD_ERR_CONFIG,
            "model.name: unknown model '%s'; there are resnet20, resnet32, resnet44, ... resnet1202 (CIFAR, depth "
            "6n+2), resnet18, resnet34, resnet50, resnet101, resnet152, vit_tiny, vit_small, vit_base",
            spec->name);
    SD_TRY(sd_network_create(kernels, max_images, spec->classes, network));
    (*network)->direct = spec->convolution == SD_CONVOLUTION_DIRECT;
    (*network)->gathers = spec->gathers;
    const sd_status status = family->build(spec, *network);
    if (status != SD_OK)
        sd_network_destroy(network);
    return status;
}

sd_status sd_model_create(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network) {
    SD_TRY(sd_model_outline(spec, kernels, max_images, network));
    const sd_status status = sd_network_finish(*network);
    if (status != SD_OK)
        sd_network_destroy(network);
    return status;
}
