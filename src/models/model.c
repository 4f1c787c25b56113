#include "model.h"

static sd_status build(const sd_model_spec *spec, sd_network *network) {
    bool found;
    SD_TRY(sd_resnet_build(spec, network, &found));
    if (!found)
        SD_TRY(sd_vit_build(spec, network, &found));
    if (!found)
        return sd_fail(
            SD_ERR_CONFIG,
            "model.name: unknown model '%s'; there are resnet20, resnet32, resnet44, ... resnet1202 (CIFAR, depth "
            "6n+2), resnet18, resnet34, resnet50, resnet101, resnet152, vit_tiny, vit_small, vit_base",
            spec->name);
    return SD_OK;
}

sd_status sd_model_check_name(const char *name) { return build(&(sd_model_spec){.name = name}, NULL); }

sd_status sd_model_create(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network) {
    SD_TRY(sd_network_create(kernels, max_images, spec->classes, network));
    (*network)->direct = spec->convolution == SD_CONVOLUTION_DIRECT;
    (*network)->gathers = spec->gathers;
    sd_status status = build(spec, *network);
    if (status == SD_OK)
        status = sd_network_finish(*network);
    if (status != SD_OK)
        sd_network_destroy(network);
    return status;
}
