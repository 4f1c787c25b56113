/* SPDX-License-Identifier: Apache-2.0 */
/* He et al. 2016, "Deep residual learning for image recognition". Names as torchvision's resnet.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "family.h"

enum { STAGES = 4, CIFAR_STAGES = 3, EXPANSION = 4, CIFAR_STEM_UP_TO = 64 };

typedef struct resnet {
    bool cifar, bottleneck; /* cifar: the 6n+2 family */
    int filters;            /* of the first stage */
    sd_stages stages;
} resnet;

static bool find(const char *name, resnet *net) {
    static const struct {
        int depth;
        bool bottleneck;
        int blocks[STAGES];
    } imagenet[] = {{18, false, {2, 2, 2, 2}},
                    {34, false, {3, 4, 6, 3}},
                    {50, true, {3, 4, 6, 3}},
                    {101, true, {3, 4, 23, 3}},
                    {152, true, {3, 8, 36, 3}}};
    static const char prefix[] = "resnet";
    const char *digits = name + strlen(prefix);
    if (strncmp(name, prefix, strlen(prefix)) != 0 || digits[0] == '0' || strlen(digits) > 4 ||
        strspn(digits, "0123456789") != strlen(digits))
        return false;
    const int depth = atoi(digits);
    for (size_t i = 0; i < sizeof imagenet / sizeof imagenet[0]; i++)
        if (depth == imagenet[i].depth) {
            *net = (resnet){.bottleneck = imagenet[i].bottleneck, .filters = 64, .stages.n = STAGES};
            memcpy(net->stages.blocks, imagenet[i].blocks, sizeof imagenet[i].blocks);
            return true;
        }
    int n = (depth - 2) / 6;
    if (depth < 20 || depth > 1202 || 6 * n + 2 != depth)
        return false;
    *net = (resnet){.cifar = true, .filters = 16, .stages = {.n = CIFAR_STAGES, .blocks = {n, n, n}}};
    return true;
}

static sd_status add_block(const sd_model_spec *spec, const resnet *net, sd_network *network, const char *name,
                           int depth, int filters, int stride) {
    const sd_conv_spec basic[] = {{filters, 3, stride}, {filters, 3, 1}};
    const sd_conv_spec bottleneck[] = {{filters, 1, 1}, {filters, 3, stride}, {filters * EXPANSION, 1, 1}};
    const int out_channels = net->bottleneck ? filters * EXPANSION : filters;
    sd_residual_spec residual = {.name = name, .stride = stride, .relu = true};
    if (stride != 1 || sd_network_shape(network).c != out_channels)
        residual.shortcut = net->cifar ? SD_SHORTCUT_SUBSAMPLE : SD_SHORTCUT_PROJECTION;
    SD_TRY(sd_build_unit(network, name, depth, &residual.unit));
    SD_TRY(sd_build_residual_begin(network, &residual));
    SD_TRY(net->bottleneck ? sd_build_conv_branch(network, 3, bottleneck, spec->zero_init_residual)
                           : sd_build_conv_branch(network, 2, basic, spec->zero_init_residual));
    return sd_build_residual_end(network);
}

static bool matches(const char *name) { return find(name, &(resnet){0}); }

static sd_stages stages_of(const char *name) {
    resnet net = {0};
    find(name, &net);
    return net.stages;
}

static sd_status build(const sd_model_spec *spec, const sd_stages *stages, sd_network *network) {
    resnet net = {0};
    find(spec->name, &net);
    if (net.cifar && spec->stem == SD_STEM_IMAGENET)
        return sd_fail(SD_ERR_CONFIG, "model.stem: %s is a CIFAR network and has the cifar stem; use auto or cifar",
                       spec->name);
    if (net.bottleneck && stages->blocks[0] == 0)
        return sd_fail(SD_ERR_CONFIG,
                       "model.layers: %s has no block left in stage 1, whose first one widens the stem's output; at "
                       "least 1 is expected",
                       spec->name);
    const sd_shape image = {spec->image_size, spec->image_size, 3};
    bool small = net.cifar || spec->stem == SD_STEM_CIFAR ||
                 (spec->stem == SD_STEM_AUTO && spec->image_size <= CIFAR_STEM_UP_TO);
    const sd_conv_spec stem = {net.filters, small ? 3 : 7, small ? 1 : 2};
    SD_TRY(sd_build_conv_stem(network, image, &stem, !small));
    int depth = 1, filters = net.filters;
    for (int stage = 0; stage < stages->n; stage++, filters *= 2)
        for (int block = 0; block < stages->blocks[stage]; block++, depth++) {
            char name[32];
            snprintf(name, sizeof name, "layer%d.%d", stage + 1, block);
            SD_TRY(add_block(spec, &net, network, name, depth, filters, stage > 0 && block == 0 ? 2 : 1));
        }
    return sd_build_pool_head(network, spec->dropout);
}

const sd_model_family sd_resnet_family = {.matches = matches, .stages = stages_of, .build = build};
