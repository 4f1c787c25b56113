/* SPDX-License-Identifier: Apache-2.0 */
/* A network's graph as an ONNX model: each operation becomes one or more of ONNX's operators (Operators.md, opset 17).
 *
 * Pictures are [N, C, H, W], tokens [N, T, C], features [N, C]. N stands in no shape and no constant, so it may be
 * anything; likewise T if the network reads texts. */
#include "sdtrain/onnx.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "elements.h"
#include "onnx_messages.h"
#include "sdtrain/arena.h"
#include "sdtrain/file.h"

enum { OPSET = 17, ROLE_BYTES = 32, BYTES_BESIDE_WEIGHTS = 2048 /* of an operation, about */ };

typedef struct writer {
    sd_protobuf out;
    const sd_graph *graph;
    const float *values;
    float *array, *transposed; /* room for the largest tensor, each */
    bool constants;            /* the graph is walked twice: for its nodes, then for its initializers */
} writer;

/* ---- names ---- */

/* Inputs of a network that reads texts, as Hugging Face's BERT has them; and what attentions add to their scores. */
#define IDS "input_ids"
#define MASK "attention_mask"
#define TYPES "token_type_ids"
#define ADDED MASK ".added"

typedef struct label {
    char text[SD_NAME_BYTES + ROLE_BYTES];
} label;

/* The names of what belongs to something: "conv1.weight" has "conv1.weight.T". */
static label label_of(const char *owner, const char *suffix) {
    label l;
    snprintf(l.text, sizeof l.text, "%.*s.%.*s", SD_NAME_BYTES - 1, owner, ROLE_BYTES - 1, suffix);
    return l;
}

/* Of value i: "relu_3". No tensor has such a name. */
static label label_of_value(const sd_graph *graph, int i) {
    label l;
    if (i == 0)
        return graph->texts ? (label){IDS} : (label){"input"};
    if (i == graph->n)
        return (label){"logits"};
    snprintf(l.text, sizeof l.text, "%s_%d", sd_op_kind_word(graph->op[i - 1].kind), i);
    return l;
}

/* ---- initializers: put in the second walk, named in both ---- */

/* A tensor of the network in PyTorch's layout. Its name. */
static const char *put_weight(writer *w, const sd_tensor *tensor) {
    int64_t shape[4];
    for (int i = 0; i < tensor->dims; i++)
        shape[i] = tensor->shape[i];
    unsigned char *bytes = w->constants ? sd_onnx_put_floats(&w->out, tensor->name, tensor->dims, shape) : NULL;
    if (bytes) {
        sd_tensor_export(tensor, w->values + tensor->offset_elems, w->array);
        sd_elements_from_floats(w->array, tensor->elems, bytes);
    }
    return tensor->name;
}

/* A matrix [out, in] as [in, out]. */
static label put_transposed(writer *w, const sd_tensor *tensor) {
    const label name = label_of(tensor->name, "T");
    const size_t rows = (size_t)tensor->shape[0], columns = (size_t)tensor->shape[1];
    const int64_t shape[] = {tensor->shape[1], tensor->shape[0]};
    unsigned char *bytes = w->constants ? sd_onnx_put_floats(&w->out, name.text, 2, shape) : NULL;
    if (bytes) {
        sd_tensor_export(tensor, w->values + tensor->offset_elems, w->array);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++)
                w->transposed[c * rows + r] = w->array[r * columns + c];
        sd_elements_from_floats(w->transposed, tensor->elems, bytes);
    }
    return name;
}

/* A scalar y.<role>. */
static label put_float(writer *w, const char *y, const char *role, double number) {
    const label name = label_of(y, role);
    const float narrow = (float)number;
    unsigned char *bytes = w->constants ? sd_onnx_put_floats(&w->out, name.text, 0, NULL) : NULL;
    if (bytes)
        sd_elements_from_floats(&narrow, 1, bytes);
    return name;
}

/* n integers, or with n = 0 a scalar. */
static label put_integers(writer *w, const char *y, const char *role, int64_t n, const int64_t *integers) {
    const label name = label_of(y, role);
    unsigned char *bytes = w->constants ? sd_onnx_put_integers(&w->out, name.text, n > 0, &n) : NULL;
    if (bytes)
        sd_elements_from_integers(integers, n > 0 ? (size_t)n : 1, bytes);
    return name;
}

static label put_index(writer *w, const char *y, const char *role, int64_t index) {
    return put_integers(w, y, role, 0, &index);
}

#define put_vector(w, y, role, ...)                                                                                    \
    put_integers(w, y, role, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})

/* ---- nodes: put in the first walk ---- */

#define INPUTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ATTRIBUTES(...) ((const sd_onnx_attribute[]){__VA_ARGS__, {.name = NULL}})
#define NO_ATTRIBUTES ((const sd_onnx_attribute[]){{.name = NULL}})

static sd_onnx_attribute of_float(const char *name, float number) {
    return (sd_onnx_attribute){.name = name, .type = SD_ONNX_FLOAT, .number = number};
}

static sd_onnx_attribute of_int(const char *name, int64_t integer) {
    return (sd_onnx_attribute){.name = name, .type = SD_ONNX_INT, .n = 1, .integer = {integer}};
}

/* n times the same integer. */
static sd_onnx_attribute of_same(const char *name, int n, int64_t integer) {
    sd_onnx_attribute a = {.name = name, .type = SD_ONNX_INTS, .n = n};
    for (int i = 0; i < n; i++)
        a.integer[i] = integer;
    return a;
}

/* The order of axes. */
#define of_order(...)                                                                                                  \
    ((sd_onnx_attribute){.name = "perm",                                                                               \
                         .type = SD_ONNX_INTS,                                                                         \
                         .n = sizeof((const int[]){__VA_ARGS__}) / sizeof(int),                                        \
                         .integer = {__VA_ARGS__}})

static void put_node(writer *w, const char *type, const char *const *inputs, const char *output,
                     const sd_onnx_attribute *attributes) {
    if (!w->constants)
        sd_onnx_put_node(&w->out, type, inputs, output, attributes);
}

/* A step on the way to y. Its output, y.<role>. */
static label put_step(writer *w, const char *y, const char *role, const char *type, const char *const *inputs,
                      const sd_onnx_attribute *attributes) {
    const label output = label_of(y, role);
    put_node(w, type, inputs, output.text, attributes);
    return output;
}

/* ---- operations: y = op(x) ---- */

static void put_conv(writer *w, const sd_op *op, const char *x, const char *y) {
    const char *weight = put_weight(w, op->weight), *bias = op->bias ? put_weight(w, op->bias) : NULL;
    put_node(w, "Conv", INPUTS(x, weight, bias), y,
             ATTRIBUTES(of_same("kernel_shape", 2, op->kernel), of_same("pads", 4, op->pad),
                        of_same("strides", 2, op->stride)));
}

static void put_batchnorm(writer *w, const sd_op *op, const char *x, const char *y) {
    const char *weight = put_weight(w, op->weight), *bias = put_weight(w, op->bias), *mean = put_weight(w, op->mean),
               *variance = put_weight(w, op->variance);
    put_node(w, "BatchNormalization", INPUTS(x, weight, bias, mean, variance), y,
             ATTRIBUTES(of_float("epsilon", op->epsilon)));
}

static void put_relu(writer *w, const sd_op *op, const char *x, const char *y) {
    (void)op;
    put_node(w, "Relu", INPUTS(x), y, NO_ATTRIBUTES);
}

static void put_maxpool(writer *w, const sd_op *op, const char *x, const char *y) {
    put_node(w, "MaxPool", INPUTS(x), y,
             ATTRIBUTES(of_same("kernel_shape", 2, op->kernel), of_same("pads", 4, op->pad),
                        of_same("strides", 2, op->stride)));
}

static void put_subsample(writer *w, const sd_op *op, const char *x, const char *y) {
    const int more = op->out.c - sd_graph_shape(w->graph, op->x).c;
    const label begins = put_vector(w, y, "begins", 0, 0), ends = put_vector(w, y, "ends", INT64_MAX, INT64_MAX),
                axes = put_vector(w, y, "axes", 2, 3), steps = put_vector(w, y, "steps", op->stride, op->stride),
                pads = put_vector(w, y, "pads", 0, 0, 0, 0, 0, more, 0, 0);
    const label pixels =
        put_step(w, y, "pixels", "Slice", INPUTS(x, begins.text, ends.text, axes.text, steps.text), NO_ATTRIBUTES);
    put_node(w, "Pad", INPUTS(pixels.text, pads.text), y, NO_ATTRIBUTES);
}

static void put_mean(writer *w, const sd_op *op, const char *x, const char *y) {
    const label mean = put_step(w, y, "mean", "GlobalAveragePool", INPUTS(x), NO_ATTRIBUTES); /* [N, C, 1, 1] */
    (void)op;
    put_node(w, "Flatten", INPUTS(mean.text), y, ATTRIBUTES(of_int("axis", 1)));
}

/* Zeros in front of the pixels, zeros behind the class token: their sum needs no N. */
static void put_tokens(writer *w, const sd_op *op, const char *x, const char *y) {
    const char *class_token = put_weight(w, op->class_token), *position = put_weight(w, op->position);
    const label shape = put_vector(w, y, "shape", 0, 0, -1),
                one_before = put_vector(w, y, "one_before", 0, 1, 0, 0, 0, 0),
                rest_behind = put_vector(w, y, "rest_behind", 0, 0, 0, 0, op->out.h - 1, 0);
    const label planes = put_step(w, y, "planes", "Reshape", INPUTS(x, shape.text), NO_ATTRIBUTES); /* [N, C, H W] */
    const label pixels =
        put_step(w, y, "pixels", "Transpose", INPUTS(planes.text), ATTRIBUTES(of_order(0, 2, 1))); /* [N, H W, C] */
    const label others = put_step(w, y, "others", "Pad", INPUTS(pixels.text, one_before.text), NO_ATTRIBUTES);
    const label first = put_step(w, y, "first", "Pad", INPUTS(class_token, rest_behind.text), NO_ATTRIBUTES);
    const label all = put_step(w, y, "all", "Add", INPUTS(others.text, first.text), NO_ATTRIBUTES);
    put_node(w, "Add", INPUTS(all.text, position), y, NO_ATTRIBUTES);
}

/* 0 where a token is seen, else the least float, which makes a probability of 0: [N, 1, 1, T]. */
static void put_mask(writer *w) {
    const label one = put_float(w, MASK, "one", 1), least = put_float(w, MASK, "least", -FLT_MAX),
                axes = put_vector(w, MASK, "axes", 1, 2);
    const label seen = put_step(w, MASK, "seen", "Cast", INPUTS(MASK), ATTRIBUTES(of_int("to", 1))); /* to float */
    const label hidden = put_step(w, MASK, "hidden", "Sub", INPUTS(one.text, seen.text), NO_ATTRIBUTES);
    const label of_keys = put_step(w, MASK, "of_keys", "Mul", INPUTS(hidden.text, least.text), NO_ATTRIBUTES);
    put_node(w, "Unsqueeze", INPUTS(of_keys.text, axes.text), ADDED, NO_ATTRIBUTES);
}

/* x: [N, T] ids; the positions are the first T. */
static void put_embedding(writer *w, const sd_op *op, const char *x, const char *y) {
    const char *words = put_weight(w, op->weight), *positions = put_weight(w, op->position),
               *types = put_weight(w, op->type);
    const label zero = put_vector(w, y, "zero", 0), one = put_vector(w, y, "one", 1), two = put_vector(w, y, "two", 2);
    const label shape = put_step(w, y, "shape", "Shape", INPUTS(x), NO_ATTRIBUTES);
    const label tokens = put_step(w, y, "tokens", "Slice", INPUTS(shape.text, one.text, two.text), NO_ATTRIBUTES);
    const label of_positions =
        put_step(w, y, "of_positions", "Slice", INPUTS(positions, zero.text, tokens.text, zero.text), NO_ATTRIBUTES);
    const label of_words = put_step(w, y, "of_words", "Gather", INPUTS(words, x), ATTRIBUTES(of_int("axis", 0)));
    const label of_types = put_step(w, y, "of_types", "Gather", INPUTS(types, TYPES), ATTRIBUTES(of_int("axis", 0)));
    const label sum = put_step(w, y, "sum", "Add", INPUTS(of_words.text, of_positions.text), NO_ATTRIBUTES);
    put_node(w, "Add", INPUTS(sum.text, of_types.text), y, NO_ATTRIBUTES);
    put_mask(w);
}

static void put_first_token(writer *w, const sd_op *op, const char *x, const char *y) {
    const label index = put_index(w, y, "index", 0);
    (void)op;
    put_node(w, "Gather", INPUTS(x, index.text), y, ATTRIBUTES(of_int("axis", 1)));
}

static void put_layernorm(writer *w, const sd_op *op, const char *x, const char *y) {
    const char *weight = put_weight(w, op->weight), *bias = put_weight(w, op->bias);
    put_node(w, "LayerNormalization", INPUTS(x, weight, bias), y,
             ATTRIBUTES(of_int("axis", -1), of_float("epsilon", op->epsilon)));
}

static void put_linear(writer *w, const sd_op *op, const char *x, const char *y) {
    const label weight = put_transposed(w, op->weight);
    const char *bias = put_weight(w, op->bias);
    const label product = put_step(w, y, "product", "MatMul", INPUTS(x, weight.text), NO_ATTRIBUTES);
    put_node(w, "Add", INPUTS(product.text, bias), y, NO_ATTRIBUTES);
}

/* Gelu is an operator from opset 20 on. */
static void put_gelu(writer *w, const sd_op *op, const char *x, const char *y) {
    const label root = put_float(w, y, "root", sqrt(2)), one = put_float(w, y, "one", 1),
                half = put_float(w, y, "half", 0.5);
    const label scaled = put_step(w, y, "scaled", "Div", INPUTS(x, root.text), NO_ATTRIBUTES);
    const label erf = put_step(w, y, "erf", "Erf", INPUTS(scaled.text), NO_ATTRIBUTES);
    const label sum = put_step(w, y, "sum", "Add", INPUTS(erf.text, one.text), NO_ATTRIBUTES);
    const label twice = put_step(w, y, "twice", "Mul", INPUTS(x, sum.text), NO_ATTRIBUTES);
    (void)op;
    put_node(w, "Mul", INPUTS(twice.text, half.text), y, NO_ATTRIBUTES);
}

static void put_tanh(writer *w, const sd_op *op, const char *x, const char *y) {
    (void)op;
    put_node(w, "Tanh", INPUTS(x), y, NO_ATTRIBUTES);
}

/* Queries (0), keys (1) or values (2): [N, heads, T, head_dim] of [3, N, heads, T, head_dim]. */
static label put_part(writer *w, const char *y, const char *role, const char *parts, int part) {
    const label output = label_of(y, role), index = put_index(w, output.text, "index", part);
    put_node(w, "Gather", INPUTS(parts, index.text), output.text, ATTRIBUTES(of_int("axis", 0)));
    return output;
}

/* x: [N, T, 3 C] = [N, T, 3, heads, head_dim]. */
static void put_attention(writer *w, const sd_op *op, const char *x, const char *y) {
    const int c = op->out.c, heads = op->heads, head_dim = c / heads;
    const label shape = put_vector(w, y, "shape", 0, 0, 3, heads, head_dim), flat = put_vector(w, y, "flat", 0, 0, c),
                factor = put_float(w, y, "factor", 1 / sqrt((double)head_dim));
    const label split = put_step(w, y, "split", "Reshape", INPUTS(x, shape.text), NO_ATTRIBUTES);
    const label parts = put_step(w, y, "parts", "Transpose", INPUTS(split.text), ATTRIBUTES(of_order(2, 0, 3, 1, 4)));
    const label queries = put_part(w, y, "queries", parts.text, 0), keys = put_part(w, y, "keys", parts.text, 1),
                values = put_part(w, y, "values", parts.text, 2);
    const label turned = put_step(w, y, "turned", "Transpose", INPUTS(keys.text), ATTRIBUTES(of_order(0, 1, 3, 2)));
    const label products = put_step(w, y, "products", "MatMul", INPUTS(queries.text, turned.text), NO_ATTRIBUTES);
    label scaled = put_step(w, y, "scaled", "Mul", INPUTS(products.text, factor.text), NO_ATTRIBUTES);
    if (w->graph->texts)
        scaled = put_step(w, y, "masked", "Add", INPUTS(scaled.text, ADDED), NO_ATTRIBUTES);
    const label shares = put_step(w, y, "shares", "Softmax", INPUTS(scaled.text), ATTRIBUTES(of_int("axis", -1)));
    const label mixed = put_step(w, y, "mixed", "MatMul", INPUTS(shares.text, values.text), NO_ATTRIBUTES);
    const label tokens = put_step(w, y, "tokens", "Transpose", INPUTS(mixed.text), ATTRIBUTES(of_order(0, 2, 1, 3)));
    put_node(w, "Reshape", INPUTS(tokens.text, flat.text), y, NO_ATTRIBUTES);
}

static void put_join(writer *w, const sd_op *op, const char *x, const char *y) {
    const label other = label_of_value(w->graph, op->other);
    put_node(w, "Concat", INPUTS(x, other.text), y, ATTRIBUTES(of_int("axis", -1)));
}

static void put_add(writer *w, const sd_op *op, const char *x, const char *y) {
    const label other = label_of_value(w->graph, op->other);
    put_node(w, "Add", INPUTS(x, other.text), y, NO_ATTRIBUTES);
}

static void put_scale(writer *w, const sd_op *op, const char *x, const char *y) {
    const label factor = put_float(w, y, "factor", (double)op->factor);
    put_node(w, "Mul", INPUTS(x, factor.text), y, NO_ATTRIBUTES);
}

static void put_op(writer *w, int i) {
    static void (*const put[])(writer *, const sd_op *, const char *, const char *) = {
        [SD_OP_CONV] = put_conv,
        [SD_OP_BATCHNORM] = put_batchnorm,
        [SD_OP_RELU] = put_relu,
        [SD_OP_MAXPOOL] = put_maxpool,
        [SD_OP_SUBSAMPLE] = put_subsample,
        [SD_OP_MEAN] = put_mean,
        [SD_OP_TOKENS] = put_tokens,
        [SD_OP_EMBEDDING] = put_embedding,
        [SD_OP_FIRST_TOKEN] = put_first_token,
        [SD_OP_LAYERNORM] = put_layernorm,
        [SD_OP_LINEAR] = put_linear,
        [SD_OP_GELU] = put_gelu,
        [SD_OP_TANH] = put_tanh,
        [SD_OP_ATTENTION] = put_attention,
        [SD_OP_JOIN] = put_join,
        [SD_OP_ADD] = put_add,
        [SD_OP_SCALE] = put_scale,
    };
    const sd_op *op = &w->graph->op[i];
    const label x = label_of_value(w->graph, op->x), y = label_of_value(w->graph, i + 1);
    put[op->kind](w, op, x.text, y.text);
}

/* ---- the model ---- */

static void put_inputs(writer *w) {
    const sd_shape in = w->graph->in;
    static const char *const of_texts[] = {IDS, MASK, TYPES};
    if (!w->graph->texts)
        sd_onnx_put_input(&w->out, "input", 3, (const int[]){in.c, in.h, in.w});
    for (int i = 0; w->graph->texts && i < 3; i++)
        sd_onnx_put_integer_input(&w->out, of_texts[i], 1, (const int[]){0});
}

static void put_graph(writer *w) {
    const sd_graph *graph = w->graph;
    const sd_shape out = sd_graph_shape(graph, graph->n);
    const size_t place = sd_onnx_begin_graph(&w->out);
    for (int i = 0; i < graph->n; i++)
        put_op(w, i);
    sd_onnx_put_graph_name(&w->out, "network");
    w->constants = true;
    for (int i = 0; i < graph->n; i++)
        put_op(w, i);
    put_inputs(w);
    sd_onnx_put_output(&w->out, "logits", 1, (const int[]){out.c});
    sd_onnx_end_graph(&w->out, place);
}

/* Bytes of all weights; *largest_elems: of the largest. */
static size_t weights_bytes(const sd_graph *graph, size_t *largest_elems) {
    size_t elems = 0;
    *largest_elems = 0;
    for (int i = 0; i < graph->n; i++) {
        const sd_op *op = &graph->op[i];
        const sd_tensor *tensors[] = {op->weight,      op->bias,     op->mean, op->variance,
                                      op->class_token, op->position, op->type};
        for (size_t t = 0; t < sizeof tensors / sizeof tensors[0]; t++) {
            const size_t of_tensor = tensors[t] ? tensors[t]->elems : 0;
            elems += of_tensor;
            *largest_elems = of_tensor > *largest_elems ? of_tensor : *largest_elems;
        }
    }
    return elems * sizeof(float);
}

static sd_status put_model(writer *w, const char *const *metadata, size_t bytes, size_t largest_elems) {
    SD_TRY(sd_alloc(&w->array, largest_elems, sizeof *w->array));
    SD_TRY(sd_alloc(&w->transposed, largest_elems, sizeof *w->transposed));
    sd_protobuf_reserve(&w->out, bytes + (size_t)w->graph->n * BYTES_BESIDE_WEIGHTS);
    sd_onnx_begin_model(&w->out, "sdtrain-mpi", SD_VERSION);
    put_graph(w);
    sd_onnx_end_model(&w->out, OPSET, metadata);
    return w->out.status;
}

sd_status sd_onnx_write(const char *path, const sd_graph *graph, const float *values, const char *const *metadata) {
    writer w = {.graph = graph, .values = values};
    size_t largest_elems;
    const size_t bytes = weights_bytes(graph, &largest_elems);
    sd_status status = SD_ERR_DATA;
    if (bytes <= SD_PROTOBUF_MOST_BYTES)
        status = put_model(&w, metadata, bytes, largest_elems);
    if (status == SD_ERR_DATA)
        sd_fail(status, "%s: cannot be written: the weights have %zu bytes, and an ONNX file has less than 2^31 (2 GB)",
                path, bytes);
    if (status == SD_OK)
        status = sd_file_write(path, w.out.bytes, w.out.n_bytes);
    free(w.array);
    free(w.transposed);
    free(w.out.bytes);
    return status;
}
