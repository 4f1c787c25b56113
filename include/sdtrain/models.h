/* SPDX-License-Identifier: Apache-2.0 */
/* The models, by name, built out of nn with the parameter names of torchvision (ResNet) and timm (ViT).
 *
 *     resnet20, 32, 44, 56, 110, ..., 1202   CIFAR ResNets of depth 6n+2 (He et al. 2016, section 4.2): 3x3 stem, 16/32/64
 *                                            filters, basic blocks, parameter-free shortcuts
 *     resnet18, 34, 50, 101, 152             ImageNet ResNets as torchvision's (v1.5: a bottleneck strides in its 3x3
 *                                            convolution); these names win over 6n+2
 *     vit_tiny, vit_small, vit_base          as timm's vit_*_patch16_224, any patch size
 */
#ifndef SDTRAIN_MODELS_H
#define SDTRAIN_MODELS_H

#include "sdtrain/config.h"
#include "sdtrain/data.h"
#include "sdtrain/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The families, each with the names it has: what registers a family, and what messages and --help say. */
#define SD_MODEL_FAMILIES(X)                                                                                           \
    X(resnet, "resnet20, resnet32, resnet44, ... resnet1202 (CIFAR, depth 6n+2), resnet18, resnet34, resnet50, "       \
              "resnet101, resnet152")                                                                                  \
    X(vit, "vit_tiny, vit_small, vit_base")

/* All names, in words: a constant text. */
#define SD_MODEL_NAMES (&(SD_MODEL_FAMILIES(SD_MODEL_NAMES_OF))[2])
#define SD_MODEL_NAMES_OF(family, names) ", " names

typedef struct sd_model_spec {
    const char *name;
    int image_size; /* height and width; 3 channels */
    int classes;
    sd_stem_choice stem; /* resnet18 ... 152; auto: the CIFAR stem (3x3, no pooling) up to 64 pixels */
    int patch_size;      /* ViT: divides image_size */
    double dropout;      /* before the classifier */
    bool zero_init_residual;
    sd_convolution_choice convolution;
    sd_unit_choice unit; /* whether both branches of a transformer block are decided together */
    bool gathers;        /* room for passes whose part keeps a branch for some of their images (sd_drop_part) */
} sd_model_spec;

/* All local. Builds a network for at most max_images images a pass; its values are zeros. The caller destroys it by
 * sd_network_destroy(). SD_ERR_CONFIG names the key that is wrong; SD_ERR_MEMORY; *network is NULL then. */
sd_status sd_model_create(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network);

/* The same without memory for values and activations: for its units and its figures, or to see whether the spec describes a
 * network. */
sd_status sd_model_outline(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network);

/* The network that a configuration asks for, on such samples, and the drop rate of each of its units: rate: [units].
 * SD_ERR_CONFIG if another number of rates is listed than the network has blocks. */
sd_model_spec sd_model_spec_of(const sd_config *config, sd_sample_spec samples);
sd_status sd_model_drop_rates(const sd_config *config, const sd_network *network, double *rate);

#ifdef __cplusplus
}
#endif
#endif
