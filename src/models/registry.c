/* SPDX-License-Identifier: Apache-2.0 */
#include "family.h"

#define DECLARE(family, names) extern const sd_model_family sd_##family##_family;
SD_MODEL_FAMILIES(DECLARE)
#undef DECLARE

static const sd_model_family *find_family(const char *name) {
#define ROW(family, names) &sd_##family##_family,
    static const sd_model_family *const families[] = {SD_MODEL_FAMILIES(ROW)};
#undef ROW
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (families[i]->matches(name))
            return families[i];
    return NULL;
}

static sd_status check(const sd_model_spec *spec, const sd_model_family *family) {
    if (!family)
        return sd_fail(SD_ERR_CONFIG, "model.name: unknown model '%s'; there are %s", spec->name, SD_MODEL_NAMES);
    if (family->reads_texts != (spec->sequence > 0))
        return sd_fail(SD_ERR_CONFIG, "model.name: %s reads %s, but the samples of data.dataset are %s", spec->name,
                       family->reads_texts ? "texts" : "images", family->reads_texts ? "images" : "texts");
    if (!family->reads_texts && (spec->hidden_dropout > 0 || spec->attention_dropout > 0))
        return sd_fail(SD_ERR_CONFIG, "model.%s: %s has no such dropout; a bert_* has",
                       spec->hidden_dropout > 0 ? "hidden_dropout" : "attention_dropout", spec->name);
    if (!family->reads_texts && spec->objective == SD_OBJECTIVE_MLM)
        return sd_fail(SD_ERR_CONFIG, "train.objective: %s reads no texts, whose tokens mlm masks; a bert_* does",
                       spec->name);
    return SD_OK;
}

/* The stages that the spec gives, or those of its name. */
static sd_status choose_stages(const sd_model_spec *spec, const sd_model_family *family, sd_stages *stages) {
    const sd_stages named = family->stages(spec->name);
    *stages = spec->stages.n > 0 ? spec->stages : named;
    if (stages->n != named.n)
        return sd_fail(SD_ERR_CONFIG, "model.layers: %s has %d stage%s, and so needs %d number%s of blocks, not %d",
                       spec->name, named.n, named.n == 1 ? "" : "s", named.n, named.n == 1 ? "" : "s", stages->n);
    for (int s = 0; s < stages->n; s++)
        if (stages->blocks[s] < 1 && (s > 0 || stages->n == 1))
            return sd_fail(SD_ERR_CONFIG, "model.layers: %s has no block left in stage %d; at least 1 is expected",
                           spec->name, s + 1);
    return SD_OK;
}

sd_status sd_model_stages(const sd_model_spec *spec, sd_stages *stages) {
    const sd_model_family *family = find_family(spec->name);
    SD_TRY(check(spec, family));
    return choose_stages(spec, family, stages);
}

sd_status sd_model_outline(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network) {
    const sd_model_family *family = find_family(spec->name);
    const sd_network_spec of_network = {.max_images = max_images,
                                        .classes = spec->classes,
                                        .direct = spec->convolution == SD_CONVOLUTION_DIRECT,
                                        .gathers = spec->gathers};
    sd_stages stages;
    *network = NULL;
    SD_TRY(check(spec, family));
    SD_TRY(choose_stages(spec, family, &stages));
    SD_TRY(sd_network_create(kernels, &of_network, network));
    const sd_status status = family->build(spec, &stages, *network);
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
