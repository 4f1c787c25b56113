/* SPDX-License-Identifier: Apache-2.0 */
/* BERT's stem: y = dropout(norm(word[id] + position[t] + type[0 or 1])) (Devlin et al. 2019, figure 2). The type is 1
 * from a text's `second` on. What lies behind a text's length is read by nobody, and has a gradient of 0.
 *
 * The words are a segment of their own: of that table a step touches few rows. */
#include <string.h>

#include "layer.h"
#include "network.h"

enum { TYPES = 2 };

typedef struct embedding_stem {
    sd_node node;
    sd_tensor *words, *positions, *types;
    sd_layernorm norm;
    sd_dropout_layer dropout;
    float *sum; /* before the norm: [images, sequence, c] */
    int rest;   /* segment of all but the words */
    bool tied;  /* the head has written a gradient of the words */
} embedding_stem;

static sd_embedding embedding_of(const sd_node *node, const sd_context *context) {
    return (sd_embedding){.images = context->pass->images,
                          .tokens = node->out.h,
                          .c = node->out.c,
                          .ids = context->input->tokens,
                          .lengths = context->input->lengths,
                          .second = context->input->second};
}

static void drop(const embedding_stem *stem, const sd_context *context, float *y) {
    const sd_dropout dropout = sd_dropout_of(&stem->dropout, context);
    const sd_map map = sd_dropout_map(&dropout, stem->node.out, sd_map_add(NULL, 1));
    if (dropout.rate > 0)
        context->k->map(sd_rows(context, stem->node.out), stem->node.out.c, y, &map, y);
}

static void forward(sd_node *node, const sd_context *context) {
    embedding_stem *stem = (embedding_stem *)node;
    const sd_embedding embedding = embedding_of(node, context);
    const size_t rows = sd_rows(context, node->out);
    context->k->embedding_forward(&embedding, sd_value(context, stem->words), sd_value(context, stem->positions),
                                  sd_value(context, stem->types), stem->sum);
    const sd_map normalise = sd_layernorm_forward(&stem->norm, context, rows, stem->sum);
    context->k->map(rows, node->out.c, stem->sum, &normalise, node->y);
    drop(stem, context, node->y);
    node->output = node->y;
}

/* Tokens have no gradient: dx and its epilogue are nothing. */
static void backward(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue) {
    embedding_stem *stem = (embedding_stem *)node;
    const sd_embedding embedding = embedding_of(node, context);
    const size_t shown = sd_shape_elems(node->out), positions = stem->positions->elems;
    float *dsum = context->work[0], *dwords = sd_gradient(context, stem->words),
          *dpositions = sd_gradient(context, stem->positions);
    (void)dx;
    (void)epilogue;
    drop(stem, context, dy);
    sd_layernorm_backward(&stem->norm, context, sd_rows(context, node->out), stem->sum, dy, NULL, dsum);
    if (!stem->tied)
        memset(dwords, 0, stem->words->elems * sizeof(float));
    memset(dpositions + shown, 0, (positions - shown) * sizeof(float));
    context->k->embedding_backward(&embedding, dsum, dwords, dpositions, sd_gradient(context, stem->types));
    sd_segment_complete(context, stem->rest);
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const embedding_stem *stem = (const embedding_stem *)node;
    (void)plan;
    graph->texts = true;
    SD_TRY(sd_graph_add(graph,
                        (sd_op){.kind = SD_OP_EMBEDDING,
                                .out = node->out,
                                .weight = stem->words,
                                .position = stem->positions,
                                .type = stem->types},
                        value));
    return sd_layernorm_describe(&stem->norm, graph, value);
}

static const sd_node_kind kind = {.forward = forward, .backward = backward, .describe = describe};

sd_status sd_embedding_tie(sd_network *network, sd_tensor **words) {
    embedding_stem *stem = (embedding_stem *)network->nodes[0];
    if (stem->node.kind != &kind)
        return sd_fail(SD_ERR_INTERNAL, "a head can be tied to a stem of embeddings alone");
    stem->tied = true;
    network->segments[stem->node.segment].row_elems = 0;
    *words = stem->words;
    return SD_OK;
}

static sd_status add_table(sd_network *network, const char *name, const char *table, int rows, int c,
                           sd_tensor **added) {
    const float deviation = 0.02f; /* Hugging Face's initializer_range */
    char full[SD_NAME_BYTES];
    SD_TRY(sd_name_format(full, "%s.%s", name, table));
    return sd_network_add_tensor(
        network, (sd_tensor){.dims = 2, .shape = {rows, c}, .matrix = true, .init_deviation = deviation}, full,
        "weight", added);
}

sd_status sd_build_embedding_stem(sd_network *network, const sd_embedding_spec *spec) {
    embedding_stem *stem;
    const int c = spec->width, sequence = spec->sequence;
    const sd_shape out = {sequence, 1, c};
    char norm[SD_NAME_BYTES];
    if (sequence < 1 || sequence > spec->positions || spec->vocabulary < 1)
        return sd_fail(SD_ERR_INTERNAL, "%s: %d tokens of %d words, where %d positions are", spec->name, sequence,
                       spec->vocabulary, spec->positions);
    SD_TRY(sd_network_add_stem(network, &kind, sizeof *stem, (sd_shape){sequence, 1, 1}, &stem));
    SD_TRY(add_table(network, spec->name, "word_embeddings", spec->vocabulary, c, &stem->words));
    network->segments[stem->node.segment].row_elems = (size_t)c;
    SD_TRY(sd_network_open_segment(network, -1, &stem->rest));
    SD_TRY(add_table(network, spec->name, "position_embeddings", spec->positions, c, &stem->positions));
    stem->positions->fit = SD_FIT_ROWS;
    SD_TRY(add_table(network, spec->name, "token_type_embeddings", TYPES, c, &stem->types));
    SD_TRY(sd_name_format(norm, "%s.LayerNorm", spec->name));
    SD_TRY(sd_layernorm_init(network, &stem->norm, norm, (size_t)sequence, c, spec->epsilon));
    sd_dropout_init(network, &stem->dropout, spec->dropout);
    sd_network_want_work(network, sd_shape_elems(out));
    SD_TRY(sd_network_reserve(network, &stem->sum, sd_shape_elems(out)));
    return sd_network_end_node(network, &stem->node, out);
}
