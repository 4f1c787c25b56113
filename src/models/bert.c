/* SPDX-License-Identifier: Apache-2.0 */
/* Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers for language understanding"; the sizes of
 * Turc et al. 2019, "Well-read students learn better". Names, order and initial values of the tensors as Hugging Face's
 * BertForSequenceClassification and BertForMaskedLM. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "family.h"

enum {
    POSITIONS = 512,
    HEAD_DIM = 64,
    MLP_RATIO = 4,
    WIDTH_MULTIPLE = 16,
    MOST_LAYERS = 99,
    MOST_WIDTH = 4096,
    MOST_HEADS = 64
};

static const float EPSILON = 1e-12f; /* of layer norms */

typedef struct bert {
    int layers, width, heads;
} bert;

/* Reads "L12" and moves *text behind it; false: there is no such letter, or no number from 1 to most. */
static bool read_number(const char **text, char letter, int most, int *number) {
    static const char digits[] = "0123456789";
    const char *first = *text + 1;
    if (**text != letter || first[0] == '0')
        return false;
    const size_t n = strspn(first, digits);
    if (n < 1 || n > 4)
        return false;
    *number = atoi(first);
    *text = first + n;
    return *number <= most;
}

/* bert_L<layers>_H<width>[_A<heads>]; without heads one for each 64 channels. */
static bool find(const char *name, bert *size) {
    static const char prefix[] = "bert_";
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return false;
    name += strlen(prefix);
    if (!read_number(&name, 'L', MOST_LAYERS, &size->layers) || *name++ != '_' ||
        !read_number(&name, 'H', MOST_WIDTH, &size->width))
        return false;
    size->heads = size->width > HEAD_DIM ? size->width / HEAD_DIM : 1;
    if (name[0] == '_') {
        name++;
        if (!read_number(&name, 'A', MOST_HEADS, &size->heads))
            return false;
    }
    return name[0] == '\0';
}

static sd_status add_attention(const sd_model_spec *spec, const bert *size, sd_network *network, const char *layer,
                               int unit) {
    const sd_attention_spec attention = {
        .heads = size->heads,
        .qkv = {"attention.self.query", "attention.self.key", "attention.self.value"},
        .projection = "attention.output.dense",
        .dropout = spec->hidden_dropout,
        .attention_dropout = spec->attention_dropout,
    };
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = layer, .unit = unit}));
    SD_TRY(sd_build_attention_branch(network, &attention));
    SD_TRY(sd_build_post_norm(network, "attention.output.LayerNorm", EPSILON));
    return sd_build_residual_end(network);
}

static sd_status add_feed_forward(const sd_model_spec *spec, const bert *size, sd_network *network, const char *layer,
                                  int unit) {
    const sd_mlp_spec mlp = {.hidden = MLP_RATIO * size->width,
                             .fc1 = "intermediate.dense",
                             .fc2 = "output.dense",
                             .dropout = spec->hidden_dropout};
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = layer, .unit = unit}));
    SD_TRY(sd_build_mlp_branch(network, &mlp));
    SD_TRY(sd_build_post_norm(network, "output.LayerNorm", EPSILON));
    return sd_build_residual_end(network);
}

/* Two residuals with their norms, which are units of their own or one unit. */
static sd_status add_layer(const sd_model_spec *spec, const bert *size, sd_network *network, int depth) {
    const bool apart = spec->unit == SD_UNIT_BRANCH;
    char layer[32], name[64];
    int unit;
    snprintf(layer, sizeof layer, "bert.encoder.layer.%d", depth - 1);
    snprintf(name, sizeof name, "%s%s", layer, apart ? ".attention" : "");
    SD_TRY(sd_build_unit(network, name, depth, &unit));
    SD_TRY(add_attention(spec, size, network, layer, unit));
    snprintf(name, sizeof name, "%s.output", layer);
    if (apart)
        SD_TRY(sd_build_unit(network, name, depth, &unit));
    return add_feed_forward(spec, size, network, layer, unit);
}

static bool matches(const char *name) { return find(name, &(bert){0}); }

static sd_status check(const sd_model_spec *spec, const bert *size) {
    if (size->width % WIDTH_MULTIPLE || size->width % size->heads)
        return sd_fail(SD_ERR_CONFIG, "model.name: %s: the width %d is no multiple of %d, or not of the %d heads",
                       spec->name, size->width, WIDTH_MULTIPLE, size->heads);
    if (spec->sequence > POSITIONS)
        return sd_fail(SD_ERR_CONFIG, "data.sequence: %d is more than the %d positions of %s", spec->sequence,
                       POSITIONS, spec->name);
    if (spec->objective == SD_OBJECTIVE_MLM && spec->dropout > 0)
        return sd_fail(SD_ERR_CONFIG, "model.dropout: %g is of a classifier, and train.objective = mlm has none",
                       spec->dropout);
    return SD_OK;
}

static sd_stages stages_of(const char *name) {
    bert size = {0};
    find(name, &size);
    return (sd_stages){.n = 1, .blocks = {size.layers}};
}

static sd_status add_head(const sd_model_spec *spec, sd_network *network) {
    const sd_masked_head_spec masked = {
        .name = "cls.predictions", .masked = sd_masked_most(spec->sequence), .epsilon = EPSILON};
    if (spec->objective == SD_OBJECTIVE_MLM)
        return sd_build_masked_head(network, &masked);
    return sd_build_pooler_head(network, "bert.pooler.dense", "classifier", spec->dropout);
}

static sd_status build(const sd_model_spec *spec, const sd_stages *stages, sd_network *network) {
    bert size = {0};
    find(spec->name, &size);
    SD_TRY(check(spec, &size));
    const sd_embedding_spec embedding = {.name = "bert.embeddings",
                                         .sequence = spec->sequence,
                                         .vocabulary = spec->vocabulary,
                                         .positions = POSITIONS,
                                         .width = size.width,
                                         .epsilon = EPSILON,
                                         .dropout = spec->hidden_dropout};
    SD_TRY(sd_build_embedding_stem(network, &embedding));
    for (int depth = 1; depth <= stages->blocks[0]; depth++)
        SD_TRY(add_layer(spec, &size, network, depth));
    return add_head(spec, network);
}

const sd_model_family sd_bert_family = {.matches = matches, .stages = stages_of, .build = build, .reads_texts = true};
