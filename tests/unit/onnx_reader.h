/* SPDX-License-Identifier: Apache-2.0 */
/* Reads ONNX files for tests: a decoder of Protocol Buffers, and an interpreter of operators in double. Both are
 * written from the specifications (onnx.proto, Operators.md, opset 17) and share nothing with src/checkpoint. Whatever
 * is not as it should be fails the test. Memory is left to the end of the test's process. */
#ifndef SDTRAIN_TESTS_ONNX_READER_H
#define SDTRAIN_TESTS_ONNX_READER_H

#include <stdint.h>

#include "../support.h"

enum { ONNX_NAME = 160, ONNX_DIMS = 5, ONNX_INPUTS = 5, ONNX_ATTRIBUTES = 3, ONNX_METADATA = 8, ONNX_MODEL_INPUTS = 3 };

typedef struct onnx_tensor {
    char name[ONNX_NAME];
    bool integer;
    int dims;
    int64_t shape[ONNX_DIMS]; /* of an input or output: -1 is any */
    size_t elems;
    double *value;
} onnx_tensor;

typedef struct onnx_attribute {
    char name[ONNX_NAME];
    int type, n;
    int64_t integer[ONNX_DIMS];
    float number;
} onnx_attribute;

typedef struct onnx_node {
    char type[ONNX_NAME], name[ONNX_NAME], output[ONNX_NAME], input[ONNX_INPUTS][ONNX_NAME];
    int inputs, attributes;
    onnx_attribute attribute[ONNX_ATTRIBUTES];
} onnx_node;

typedef struct onnx_model {
    int64_t ir_version, opset;
    char *producer, *metadata[ONNX_METADATA][2];
    int n_metadata, nodes, values, initializers;
    onnx_node *node;
    onnx_tensor *value; /* [values]: the initializers, then what run_onnx() computes */
    int inputs;
    onnx_tensor input[ONNX_MODEL_INPUTS], output;
} onnx_model;

/* ---- Protocol Buffers ---- */

typedef struct onnx_bytes {
    const unsigned char *at, *end;
} onnx_bytes;

typedef struct onnx_field {
    int number, wire_type;
    uint64_t integer;  /* varint */
    onnx_bytes inside; /* of bytes, and of four bytes */
} onnx_field;

static inline uint64_t read_varint(onnx_bytes *from) {
    uint64_t number = 0;
    for (int shift = 0;; shift += 7) {
        expect(from->at < from->end && shift < 70, "a varint is cut or too long");
        const unsigned char byte = *from->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            expect(byte > 0 || shift == 0, "a varint has more bytes than it needs");
            return number;
        }
    }
}

static inline bool next_field(onnx_bytes *from, onnx_field *field) {
    if (from->at == from->end)
        return false;
    const uint64_t key = read_varint(from);
    *field = (onnx_field){.number = (int)(key >> 3), .wire_type = (int)(key & 7)};
    size_t n = 0;
    if (field->wire_type == 0)
        field->integer = read_varint(from);
    else if (field->wire_type == 2)
        n = read_varint(from);
    else if (field->wire_type == 5)
        n = 4;
    else
        ck_abort_msg("field %d has wire type %d", field->number, field->wire_type);
    expect(n <= (size_t)(from->end - from->at), "field %d of %zu bytes is cut", field->number, n);
    field->inside = (onnx_bytes){from->at, from->at + n};
    from->at += n;
    return true;
}

static inline char *read_text(const onnx_field *field) {
    expect(field->wire_type == 2, "field %d is no text", field->number);
    return strndup((const char *)field->inside.at, (size_t)(field->inside.end - field->inside.at));
}

static inline void read_name(const onnx_field *field, char name[ONNX_NAME]) {
    char *text = read_text(field);
    expect(text[0] && strlen(text) < ONNX_NAME, "'%s' is no name", text);
    strcpy(name, text);
    free(text);
}

static inline float read_float(const unsigned char *bytes) {
    const uint32_t bits = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* ---- messages ---- */

static inline void *grow_array(void *array, int n, size_t bytes) {
    void *grown = realloc(array, (size_t)(n + 1) * bytes);
    memset((char *)grown + (size_t)n * bytes, 0, bytes);
    return grown;
}

static inline size_t elems_of(const onnx_tensor *t) {
    size_t elems = 1;
    for (int i = 0; i < t->dims; i++)
        elems *= (size_t)t->shape[i];
    return elems;
}

static inline void read_tensor(onnx_bytes from, onnx_tensor *t) {
    onnx_field f;
    onnx_bytes raw = {NULL, NULL};
    while (next_field(&from, &f)) {
        if (f.number == 1)
            t->shape[t->dims++] = (int64_t)f.integer;
        else if (f.number == 2)
            t->integer = f.integer == 7 ? true : f.integer == 1 ? false : (ck_abort_msg("element type"), false);
        else if (f.number == 8)
            read_name(&f, t->name);
        else if (f.number == 9)
            raw = f.inside;
        else
            ck_abort_msg("a tensor has field %d", f.number);
    }
    t->elems = elems_of(t);
    const size_t each = t->integer ? 8 : 4;
    expect((size_t)(raw.end - raw.at) == t->elems * each, "%s: its bytes do not fit its shape", t->name);
    t->value = calloc(t->elems, sizeof *t->value);
    for (size_t i = 0; i < t->elems; i++) {
        uint64_t bits = 0;
        for (size_t b = 0; b < 8 && t->integer; b++)
            bits |= (uint64_t)raw.at[i * 8 + b] << 8 * b;
        t->value[i] = t->integer ? (double)(int64_t)bits : (double)read_float(raw.at + 4 * i);
    }
}

static inline void read_attribute(onnx_bytes from, onnx_attribute *a) {
    onnx_field f;
    while (next_field(&from, &f)) {
        if (f.number == 1)
            read_name(&f, a->name);
        else if (f.number == 2)
            a->number = read_float(f.inside.at);
        else if (f.number == 3 || f.number == 8)
            a->integer[a->n++] = (int64_t)f.integer;
        else if (f.number == 20)
            a->type = (int)f.integer;
        else
            ck_abort_msg("an attribute has field %d", f.number);
    }
    expect((a->type == 1 && a->n == 0) || (a->type == 2 && a->n == 1) || a->type == 7, "%s: its type is %d", a->name,
           a->type);
}

static inline void read_node(onnx_bytes from, onnx_node *node) {
    onnx_field f;
    while (next_field(&from, &f)) {
        if (f.number == 1)
            read_name(&f, node->input[node->inputs++]);
        else if (f.number == 2)
            read_name(&f, node->output);
        else if (f.number == 3)
            read_name(&f, node->name);
        else if (f.number == 4)
            read_name(&f, node->type);
        else if (f.number == 5)
            read_attribute(f.inside, &node->attribute[node->attributes++]);
        else
            ck_abort_msg("a node has field %d", f.number);
    }
}

/* The one field of a message. */
static inline onnx_field only_field(onnx_bytes from, int number) {
    onnx_field f, more;
    expect(next_field(&from, &f) && f.number == number && !next_field(&from, &more), "field %d and no other", number);
    return f;
}

/* ValueInfoProto: {1: name, 2: {1: {1: element type, 2: {1: {1: size, or 2: name}, ...}}}}. */
static inline void read_value_info(onnx_bytes from, onnx_tensor *t) {
    onnx_field f, dim;
    while (next_field(&from, &f)) {
        if (f.number == 1) {
            read_name(&f, t->name);
            continue;
        }
        expect(f.number == 2, "a value has field %d", f.number);
        onnx_bytes type = only_field(f.inside, 1).inside;
        expect(next_field(&type, &f) && f.number == 1 && (f.integer == 1 || f.integer == 7),
               "%s is no float, and no int64", t->name);
        t->integer = f.integer == 7;
        onnx_bytes shape = only_field(type, 2).inside;
        while (next_field(&shape, &dim)) {
            onnx_bytes size = dim.inside;
            expect(dim.number == 1 && next_field(&size, &f), "%s: a dimension", t->name);
            t->shape[t->dims++] = f.number == 1 ? (int64_t)f.integer : -1;
        }
    }
}

static inline void read_graph(onnx_bytes from, onnx_model *m) {
    onnx_field f;
    int last = 0;
    while (next_field(&from, &f)) {
        expect(f.number >= last, "the graph's fields are not in order");
        last = f.number;
        if (f.number == 1) {
            m->node = grow_array(m->node, m->nodes, sizeof *m->node);
            read_node(f.inside, &m->node[m->nodes++]);
        } else if (f.number == 5) {
            m->value = grow_array(m->value, m->values, sizeof *m->value);
            read_tensor(f.inside, &m->value[m->values++]);
        } else if (f.number == 11) {
            expect(m->inputs < ONNX_MODEL_INPUTS, "the model has more inputs");
            read_value_info(f.inside, &m->input[m->inputs++]);
        } else if (f.number == 12) {
            read_value_info(f.inside, &m->output);
        } else {
            expect(f.number == 2, "the graph has field %d", f.number);
        }
    }
    m->initializers = m->values;
}

static inline onnx_model read_onnx(const char *path) {
    onnx_model m = {0};
    onnx_field f, part;
    size_t n;
    const unsigned char *file = (const unsigned char *)read_bytes(path, &n);
    onnx_bytes from = {file, file + n};
    while (next_field(&from, &f)) {
        if (f.number == 1) {
            m.ir_version = (int64_t)f.integer;
        } else if (f.number == 2) {
            m.producer = read_text(&f);
        } else if (f.number == 7) {
            read_graph(f.inside, &m);
        } else if (f.number == 8) {
            m.opset = (int64_t)only_field(f.inside, 2).integer;
        } else if (f.number == 14) {
            for (int i = 0; next_field(&f.inside, &part); i++)
                m.metadata[m.n_metadata][i] = read_text(&part);
            m.n_metadata++;
        } else {
            expect(f.number == 3, "the model has field %d", f.number);
        }
    }
    return m;
}

/* ---- looking ---- */

static inline const onnx_tensor *onnx_value(const onnx_model *m, const char *name) {
    const onnx_tensor *found = NULL;
    for (int i = 0; i < m->values; i++)
        if (!strcmp(m->value[i].name, name)) {
            expect(!found, "%s is there twice", name);
            found = &m->value[i];
        }
    expect(found != NULL, "%s is used before it is there", name);
    return found;
}

static inline int count_nodes(const onnx_model *m, const char *type) {
    int n = 0;
    for (int i = 0; i < m->nodes; i++)
        n += !strcmp(m->node[i].type, type);
    return n;
}

static inline const onnx_attribute *attribute_of(const onnx_node *node, const char *name) {
    for (int i = 0; i < node->attributes; i++)
        if (!strcmp(node->attribute[i].name, name))
            return &node->attribute[i];
    ck_abort_msg("%s has no attribute %s", node->name, name);
    return NULL;
}

/* ---- operators ---- */

static inline onnx_tensor new_value(int dims, const int64_t *shape) {
    onnx_tensor t = {.dims = dims};
    memcpy(t.shape, shape, (size_t)dims * sizeof *shape);
    t.elems = elems_of(&t);
    t.value = calloc(t.elems, sizeof *t.value);
    return t;
}

/* The index in t of place i of a tensor of this shape: with t's dimensions of 1 repeated, and missing ones in front. */
static inline size_t broadcast_index(const onnx_tensor *t, const onnx_tensor *whole, size_t i) {
    size_t index = 0, stride = 1;
    for (int d = whole->dims - 1, own = t->dims - 1; own >= 0; d--, own--) {
        const size_t place = i % (size_t)whole->shape[d];
        i /= (size_t)whole->shape[d];
        index += t->shape[own] == 1 ? 0 : place * stride;
        expect(t->shape[own] == 1 || t->shape[own] == whole->shape[d], "shapes do not fit");
        stride *= (size_t)t->shape[own];
    }
    return index;
}

static inline onnx_tensor run_elementwise(char operation, const onnx_tensor *a, const onnx_tensor *b) {
    int64_t shape[ONNX_DIMS] = {0};
    const int dims = a->dims > b->dims ? a->dims : b->dims;
    for (int d = 1; d <= dims; d++) {
        const int64_t of_a = d <= a->dims ? a->shape[a->dims - d] : 1, of_b = d <= b->dims ? b->shape[b->dims - d] : 1;
        shape[dims - d] = of_a > of_b ? of_a : of_b;
    }
    onnx_tensor y = new_value(dims, shape);
    for (size_t i = 0; i < y.elems; i++) {
        const double p = a->value[broadcast_index(a, &y, i)], q = b->value[broadcast_index(b, &y, i)];
        y.value[i] = operation == '+' ? p + q : operation == '-' ? p - q : operation == '*' ? p * q : p / q;
    }
    return y;
}

/* Visits the windows of a kernel over pixels; pads: [top, left, bottom, right]. With weight: Conv; without: MaxPool. */
static inline onnx_tensor run_window(const onnx_node *node, const onnx_tensor *x, const onnx_tensor *weight,
                                     const onnx_tensor *bias) {
    const int64_t *kernel = attribute_of(node, "kernel_shape")->integer, *pad = attribute_of(node, "pads")->integer,
                  *stride = attribute_of(node, "strides")->integer;
    const int64_t n = x->shape[0], c = x->shape[1], h = x->shape[2], w = x->shape[3], k = weight ? weight->shape[0] : c;
    const int64_t out_h = (h + pad[0] + pad[2] - kernel[0]) / stride[0] + 1,
                  out_w = (w + pad[1] + pad[3] - kernel[1]) / stride[1] + 1;
    onnx_tensor y = new_value(4, (const int64_t[]){n, k, out_h, out_w});
    expect(!weight || (weight->shape[1] == c && weight->shape[2] == kernel[0] && weight->shape[3] == kernel[1]),
           "%s: its weight has another shape", node->name);
    for (size_t i = 0; i < y.elems; i++) {
        const int64_t q = (int64_t)i % out_w, p = (int64_t)i / out_w % out_h, f = (int64_t)i / (out_w * out_h) % k,
                      image = (int64_t)i / (out_w * out_h * k);
        double sum = weight ? 0 : -INFINITY;
        for (int64_t channel = weight ? 0 : f; channel < (weight ? c : f + 1); channel++)
            for (int64_t r = 0; r < kernel[0]; r++)
                for (int64_t s = 0; s < kernel[1]; s++) {
                    const int64_t ih = p * stride[0] + r - pad[0], iw = q * stride[1] + s - pad[1];
                    if (ih < 0 || ih >= h || iw < 0 || iw >= w)
                        continue;
                    const double v = x->value[((image * c + channel) * h + ih) * w + iw];
                    sum = weight ? sum + v * weight->value[((f * c + channel) * kernel[0] + r) * kernel[1] + s]
                                 : fmax(sum, v);
                }
        y.value[i] = sum + (bias ? bias->value[f] : 0);
    }
    return y;
}

static inline onnx_tensor run_batchnorm(const onnx_node *node, const onnx_tensor *const *in) {
    const double epsilon = (double)attribute_of(node, "epsilon")->number;
    onnx_tensor y = new_value(in[0]->dims, in[0]->shape);
    const size_t c = (size_t)y.shape[1], pixels = (size_t)(y.shape[2] * y.shape[3]);
    for (size_t i = 0; i < y.elems; i++) {
        const size_t k = i / pixels % c;
        y.value[i] =
            (in[0]->value[i] - in[3]->value[k]) / sqrt(in[4]->value[k] + epsilon) * in[1]->value[k] + in[2]->value[k];
    }
    return y;
}

static inline onnx_tensor run_layernorm(const onnx_node *node, const onnx_tensor *const *in) {
    const double epsilon = (double)attribute_of(node, "epsilon")->number;
    onnx_tensor y = new_value(in[0]->dims, in[0]->shape);
    const size_t c = (size_t)y.shape[y.dims - 1];
    expect(attribute_of(node, "axis")->integer[0] == -1, "%s: axis", node->name);
    for (size_t row = 0; row < y.elems; row += c) {
        const double *x = in[0]->value + row;
        double mean = 0, variance = 0;
        for (size_t i = 0; i < c; i++)
            mean += x[i] / (double)c;
        for (size_t i = 0; i < c; i++)
            variance += (x[i] - mean) * (x[i] - mean) / (double)c;
        for (size_t i = 0; i < c; i++)
            y.value[row + i] = (x[i] - mean) / sqrt(variance + epsilon) * in[1]->value[i] + in[2]->value[i];
    }
    return y;
}

static inline onnx_tensor run_softmax(const onnx_node *node, const onnx_tensor *x) {
    onnx_tensor y = new_value(x->dims, x->shape);
    const size_t c = (size_t)y.shape[y.dims - 1];
    expect(attribute_of(node, "axis")->integer[0] == -1, "%s: axis", node->name);
    for (size_t row = 0; row < y.elems; row += c) {
        double sum = 0;
        for (size_t i = 0; i < c; i++)
            sum += exp(x->value[row + i]);
        for (size_t i = 0; i < c; i++)
            y.value[row + i] = exp(x->value[row + i]) / sum;
    }
    return y;
}

/* b: [k, n], or with the leading dimensions of a. */
static inline onnx_tensor run_matmul(const onnx_tensor *a, const onnx_tensor *b) {
    int64_t shape[ONNX_DIMS] = {0};
    const size_t m = (size_t)a->shape[a->dims - 2], k = (size_t)a->shape[a->dims - 1],
                 n = (size_t)b->shape[b->dims - 1];
    memcpy(shape, a->shape, sizeof shape);
    shape[a->dims - 1] = (int64_t)n;
    onnx_tensor y = new_value(a->dims, shape);
    expect(b->shape[b->dims - 2] == (int64_t)k && (b->dims == 2 || a->elems / (m * k) == b->elems / (k * n)),
           "shapes of a product do not fit");
    for (size_t i = 0; i < y.elems; i++) {
        const size_t batch = i / (m * n), row = i / n % m, column = i % n;
        const double *right = b->value + (b->dims == 2 ? 0 : batch * k * n);
        for (size_t j = 0; j < k; j++)
            y.value[i] += a->value[(batch * m + row) * k + j] * right[j * n + column];
    }
    return y;
}

static inline onnx_tensor run_transpose(const onnx_node *node, const onnx_tensor *x) {
    const onnx_attribute *order = attribute_of(node, "perm");
    int64_t shape[ONNX_DIMS] = {0};
    size_t stride[ONNX_DIMS];
    expect(order->n == x->dims, "%s: perm", node->name);
    for (int d = 0; d < x->dims; d++) {
        shape[d] = x->shape[order->integer[d]];
        stride[d] = 1;
        for (int64_t s = order->integer[d] + 1; s < x->dims; s++)
            stride[d] *= (size_t)x->shape[s];
    }
    onnx_tensor y = new_value(x->dims, shape);
    for (size_t i = 0; i < y.elems; i++) {
        size_t rest = i, from = 0;
        for (int d = y.dims - 1; d >= 0; d--) {
            from += rest % (size_t)shape[d] * stride[d];
            rest /= (size_t)shape[d];
        }
        y.value[i] = x->value[from];
    }
    return y;
}

static inline onnx_tensor run_reshape(const onnx_tensor *x, const onnx_tensor *shape) {
    onnx_tensor y = {.dims = (int)shape->elems, .elems = x->elems, .value = x->value};
    int unknown = -1;
    size_t known = 1;
    for (int d = 0; d < y.dims; d++) {
        y.shape[d] = shape->value[d] == 0 ? x->shape[d] : (int64_t)shape->value[d];
        if (y.shape[d] < 0)
            unknown = d;
        else
            known *= (size_t)y.shape[d];
    }
    if (unknown >= 0)
        y.shape[unknown] = (int64_t)(x->elems / known);
    expect(elems_of(&y) == x->elems, "a new shape does not fit");
    return y;
}

/* y[i] = x[(i - begin) * step], 0 where that is outside. */
static inline onnx_tensor run_place(const onnx_tensor *x, const int64_t *begin, const int64_t *step,
                                    const int64_t *shape) {
    onnx_tensor y = new_value(x->dims, shape);
    for (size_t i = 0; i < y.elems; i++) {
        size_t rest = i, from = 0, stride = 1;
        bool inside = true;
        for (int d = y.dims - 1; d >= 0; d--) {
            const int64_t place = ((int64_t)(rest % (size_t)shape[d]) - begin[d]) * step[d];
            inside = inside && place >= 0 && place < x->shape[d];
            from += (size_t)place * stride;
            stride *= (size_t)x->shape[d];
            rest /= (size_t)shape[d];
        }
        y.value[i] = inside ? x->value[from] : 0;
    }
    return y;
}

static inline onnx_tensor run_pad(const onnx_tensor *x, const onnx_tensor *pads) {
    int64_t begin[ONNX_DIMS] = {0}, step[ONNX_DIMS] = {0}, shape[ONNX_DIMS] = {0};
    expect((int)pads->elems == 2 * x->dims, "there are %zu pads", pads->elems);
    for (int d = 0; d < x->dims; d++) {
        begin[d] = (int64_t)pads->value[d];
        step[d] = 1;
        shape[d] = begin[d] + x->shape[d] + (int64_t)pads->value[x->dims + d];
    }
    return run_place(x, begin, step, shape);
}

/* in: x, begins, ends, axes (else all), steps (else 1). Begins other than 0 only with steps of 1. */
static inline onnx_tensor run_slice(const onnx_tensor *const *in, int inputs) {
    int64_t begin[ONNX_DIMS] = {0}, step[ONNX_DIMS] = {1, 1, 1, 1, 1}, shape[ONNX_DIMS] = {0};
    memcpy(shape, in[0]->shape, sizeof shape);
    for (size_t i = 0; i < in[1]->elems; i++) {
        const int d = inputs > 3 ? (int)in[3]->value[i] : (int)i;
        const int64_t first = (int64_t)in[1]->value[i], whole = shape[d];
        const int64_t end = in[2]->value[i] < (double)whole ? (int64_t)in[2]->value[i] : whole;
        step[d] = inputs > 4 ? (int64_t)in[4]->value[i] : 1;
        expect(first >= 0 && first <= end && (first == 0 || step[d] == 1), "a slice that is not expected");
        begin[d] = -first;
        shape[d] = (end - first + step[d] - 1) / step[d];
    }
    return run_place(in[0], begin, step, shape);
}

static inline onnx_tensor run_gather(const onnx_node *node, const onnx_tensor *x, const onnx_tensor *index) {
    const int axis = (int)attribute_of(node, "axis")->integer[0];
    int64_t shape[ONNX_DIMS] = {0};
    size_t inner = 1;
    int to = 0;
    expect(index->integer, "%s: its indices are no integers", node->name);
    for (int d = 0; d < x->dims; d++) {
        for (int of_index = 0; d == axis && of_index < index->dims; of_index++)
            shape[to++] = index->shape[of_index];
        if (d != axis)
            shape[to++] = x->shape[d];
        inner *= d > axis ? (size_t)x->shape[d] : 1;
    }
    onnx_tensor y = new_value(to, shape);
    for (size_t i = 0; i < y.elems; i++) {
        const size_t row = i / inner, outer = row / index->elems;
        const double place = index->value[row % index->elems];
        expect(place >= 0 && place < (double)x->shape[axis], "%s: index %g", node->name, place);
        y.value[i] = x->value[(outer * (size_t)x->shape[axis] + (size_t)place) * inner + i % inner];
    }
    return y;
}

static inline onnx_tensor run_shape(const onnx_tensor *x) {
    onnx_tensor y = new_value(1, (const int64_t[]){x->dims});
    for (int d = 0; d < x->dims; d++)
        y.value[d] = (double)x->shape[d];
    return y;
}

/* axes: places of dimensions of 1 in the result, ascending. */
static inline onnx_tensor run_unsqueeze(const onnx_tensor *x, const onnx_tensor *axes) {
    onnx_tensor y = *x;
    size_t next = 0;
    int from = 0;
    y.dims = x->dims + (int)axes->elems;
    for (int d = 0; d < y.dims; d++) {
        const bool is_new = next < axes->elems && (int)axes->value[next] == d;
        y.shape[d] = is_new ? 1 : x->shape[from++];
        next += is_new;
    }
    return y;
}

/* Along the last axis. */
static inline onnx_tensor run_concat(const onnx_node *node, const onnx_tensor *a, const onnx_tensor *b) {
    const size_t of_a = (size_t)a->shape[a->dims - 1], of_b = (size_t)b->shape[b->dims - 1], c = of_a + of_b;
    int64_t shape[ONNX_DIMS] = {0};
    memcpy(shape, a->shape, sizeof shape);
    shape[a->dims - 1] = (int64_t)c;
    onnx_tensor y = new_value(a->dims, shape);
    expect(attribute_of(node, "axis")->integer[0] == -1 && y.elems == a->elems + b->elems, "%s: axis or shapes",
           node->name);
    for (size_t i = 0; i < y.elems; i++)
        y.value[i] = i % c < of_a ? a->value[i / c * of_a + i % c] : b->value[i / c * of_b + i % c - of_a];
    return y;
}

static inline onnx_tensor run_mean(const onnx_tensor *x) {
    const size_t pixels = (size_t)(x->shape[2] * x->shape[3]);
    onnx_tensor y = new_value(4, (const int64_t[]){x->shape[0], x->shape[1], 1, 1});
    for (size_t i = 0; i < x->elems; i++)
        y.value[i / pixels] += x->value[i] / (double)pixels;
    return y;
}

static inline onnx_tensor run_flatten(const onnx_node *node, const onnx_tensor *x) {
    onnx_tensor y = *x;
    expect(attribute_of(node, "axis")->integer[0] == 1, "%s: axis", node->name);
    y.dims = 2;
    y.shape[1] = (int64_t)(x->elems / (size_t)x->shape[0]);
    return y;
}

static inline onnx_tensor run_each(const char *type, const onnx_tensor *x) {
    onnx_tensor y = new_value(x->dims, x->shape);
    for (size_t i = 0; i < y.elems; i++)
        y.value[i] = !strcmp(type, "Relu")  ? fmax(x->value[i], 0)
                     : !strcmp(type, "Erf") ? erf(x->value[i])
                                            : tanh(x->value[i]);
    return y;
}

static inline onnx_tensor run_node(const onnx_model *m, const onnx_node *node) {
    const onnx_tensor *in[ONNX_INPUTS];
    const char *type = node->type;
    for (int i = 0; i < node->inputs; i++)
        in[i] = onnx_value(m, node->input[i]);
    if (!strcmp(type, "Conv"))
        return run_window(node, in[0], in[1], node->inputs > 2 ? in[2] : NULL);
    if (!strcmp(type, "MaxPool"))
        return run_window(node, in[0], NULL, NULL);
    if (!strcmp(type, "BatchNormalization"))
        return run_batchnorm(node, in);
    if (!strcmp(type, "LayerNormalization"))
        return run_layernorm(node, in);
    if (!strcmp(type, "Relu") || !strcmp(type, "Erf") || !strcmp(type, "Tanh"))
        return run_each(type, in[0]);
    if (!strcmp(type, "Add"))
        return run_elementwise('+', in[0], in[1]);
    if (!strcmp(type, "Sub"))
        return run_elementwise('-', in[0], in[1]);
    if (!strcmp(type, "Mul"))
        return run_elementwise('*', in[0], in[1]);
    if (!strcmp(type, "Div"))
        return run_elementwise('/', in[0], in[1]);
    if (!strcmp(type, "MatMul"))
        return run_matmul(in[0], in[1]);
    if (!strcmp(type, "Softmax"))
        return run_softmax(node, in[0]);
    if (!strcmp(type, "Transpose"))
        return run_transpose(node, in[0]);
    if (!strcmp(type, "Reshape"))
        return run_reshape(in[0], in[1]);
    if (!strcmp(type, "Pad"))
        return run_pad(in[0], in[1]);
    if (!strcmp(type, "Slice"))
        return run_slice(in, node->inputs);
    if (!strcmp(type, "Gather"))
        return run_gather(node, in[0], in[1]);
    if (!strcmp(type, "Shape"))
        return run_shape(in[0]);
    if (!strcmp(type, "Unsqueeze"))
        return run_unsqueeze(in[0], in[1]);
    if (!strcmp(type, "Concat"))
        return run_concat(node, in[0], in[1]);
    if (!strcmp(type, "Cast")) {
        expect(attribute_of(node, "to")->integer[0] == 1, "%s: to what is no float", node->name);
        return *in[0];
    }
    if (!strcmp(type, "GlobalAveragePool"))
        return run_mean(in[0]);
    if (!strcmp(type, "Flatten"))
        return run_flatten(node, in[0]);
    ck_abort_msg("operator %s is not expected", type);
    return (onnx_tensor){.dims = 0};
}

/* x: [inputs], in the model's order, which get their names. Returns the output. */
static inline const onnx_tensor *run_onnx(onnx_model *m, onnx_tensor *x) {
    m->values = m->initializers;
    m->value = realloc(m->value, (size_t)(m->values + m->nodes + m->inputs) * sizeof *m->value);
    for (int i = 0; i < m->inputs; i++) {
        memcpy(x[i].name, m->input[i].name, sizeof x[i].name);
        x[i].integer = m->input[i].integer;
        m->value[m->values++] = x[i];
    }
    for (int i = 0; i < m->nodes; i++) {
        onnx_tensor y = run_node(m, &m->node[i]);
        memcpy(y.name, m->node[i].output, sizeof y.name);
        m->value[m->values++] = y;
    }
    return onnx_value(m, m->output.name);
}

/* pixels: [N, H, W, C], as ours. */
static inline const onnx_tensor *run_onnx_images(onnx_model *m, int images, const float *pixels) {
    const int64_t c = m->input[0].shape[1], h = m->input[0].shape[2], w = m->input[0].shape[3];
    onnx_tensor x = new_value(4, (const int64_t[]){images, c, h, w});
    for (size_t i = 0; i < x.elems; i++) {
        const size_t plane = (size_t)(h * w), image = i / (plane * (size_t)c), channel = i / plane % (size_t)c;
        x.value[i] = (double)pixels[(image * plane + i % plane) * (size_t)c + channel];
    }
    return run_onnx(m, &x);
}

/* input: ours, rows of `sequence` tokens, of which the first `tokens` are given to the model. */
static inline const onnx_tensor *run_onnx_texts(onnx_model *m, int texts, int sequence, int tokens,
                                                const sd_input *input) {
    const int64_t shape[] = {texts, tokens};
    onnx_tensor x[] = {new_value(2, shape), new_value(2, shape), new_value(2, shape)};
    for (int i = 0; i < texts * tokens; i++) {
        const int n = i / tokens, t = i % tokens;
        x[0].value[i] = input->tokens[n * sequence + t];
        x[1].value[i] = t < input->lengths[n];
        x[2].value[i] = t >= input->second[n] && t < input->lengths[n];
    }
    return run_onnx(m, x);
}

#endif
