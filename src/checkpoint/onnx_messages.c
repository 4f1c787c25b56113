/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx_messages.h"

enum { IR_VERSION = 8 };

/* Numbers of fields, by message. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_METADATA = 14,
    OPSET_VERSION = 2,
    METADATA_KEY = 1,
    METADATA_VALUE = 2,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OPERATOR = 4,
    NODE_ATTRIBUTE = 5,
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_FLOAT = 2,
    ATTRIBUTE_INT = 3,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_TYPE = 20,
    TENSOR_DIM = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_BYTES = 9,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_ELEMENT = 1,
    TYPE_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_NAME = 2
};

enum { ELEMENT_FLOAT = 1, ELEMENT_INT64 = 7 }; /* values of TENSOR_TYPE and TYPE_ELEMENT */

/* ---- model ---- */

void sd_onnx_begin_model(sd_protobuf *out, const char *producer, const char *version) {
    sd_protobuf_put_int(out, MODEL_IR_VERSION, IR_VERSION);
    sd_protobuf_put_text(out, MODEL_PRODUCER, producer);
    sd_protobuf_put_text(out, MODEL_PRODUCER_VERSION, version);
}

void sd_onnx_end_model(sd_protobuf *out, int opset, const char *const *metadata) {
    const size_t place = sd_protobuf_begin(out, MODEL_OPSET);
    sd_protobuf_put_int(out, OPSET_VERSION, opset);
    sd_protobuf_end(out, place);
    for (; metadata && metadata[0]; metadata += 2) {
        const size_t entry = sd_protobuf_begin(out, MODEL_METADATA);
        sd_protobuf_put_text(out, METADATA_KEY, metadata[0]);
        sd_protobuf_put_text(out, METADATA_VALUE, metadata[1]);
        sd_protobuf_end(out, entry);
    }
}

/* ---- graph ---- */

size_t sd_onnx_begin_graph(sd_protobuf *out) { return sd_protobuf_begin(out, MODEL_GRAPH); }

void sd_onnx_end_graph(sd_protobuf *out, size_t place) { sd_protobuf_end(out, place); }

void sd_onnx_put_graph_name(sd_protobuf *out, const char *name) { sd_protobuf_put_text(out, GRAPH_NAME, name); }

static void put_attribute(sd_protobuf *out, const sd_onnx_attribute *a) {
    const size_t place = sd_protobuf_begin(out, NODE_ATTRIBUTE);
    sd_protobuf_put_text(out, ATTRIBUTE_NAME, a->name);
    if (a->type == SD_ONNX_FLOAT)
        sd_protobuf_put_float(out, ATTRIBUTE_FLOAT, a->number);
    for (int i = 0; i < a->n; i++)
        sd_protobuf_put_int(out, a->type == SD_ONNX_INT ? ATTRIBUTE_INT : ATTRIBUTE_INTS, a->integer[i]);
    sd_protobuf_put_int(out, ATTRIBUTE_TYPE, a->type);
    sd_protobuf_end(out, place);
}

void sd_onnx_put_node(sd_protobuf *out, const char *type, const char *const *inputs, const char *output,
                      const sd_onnx_attribute *attributes) {
    const size_t place = sd_protobuf_begin(out, GRAPH_NODE);
    for (; *inputs; inputs++)
        sd_protobuf_put_text(out, NODE_INPUT, *inputs);
    sd_protobuf_put_text(out, NODE_OUTPUT, output);
    sd_protobuf_put_text(out, NODE_NAME, output);
    sd_protobuf_put_text(out, NODE_OPERATOR, type);
    for (; attributes->name; attributes++)
        put_attribute(out, attributes);
    sd_protobuf_end(out, place);
}

static unsigned char *put_tensor(sd_protobuf *out, const char *name, int element, size_t element_bytes, int dims,
                                 const int64_t *shape) {
    const size_t place = sd_protobuf_begin(out, GRAPH_INITIALIZER);
    size_t n_bytes = element_bytes;
    for (int i = 0; i < dims; i++) {
        sd_protobuf_put_int(out, TENSOR_DIM, shape[i]);
        n_bytes *= (size_t)shape[i];
    }
    sd_protobuf_put_int(out, TENSOR_TYPE, element);
    sd_protobuf_put_text(out, TENSOR_NAME, name);
    sd_protobuf_put_bytes(out, TENSOR_BYTES, n_bytes);
    sd_protobuf_end(out, place); /* moves the bytes */
    return out->status == SD_OK ? out->bytes + out->n_bytes - n_bytes : NULL;
}

unsigned char *sd_onnx_put_floats(sd_protobuf *out, const char *name, int dims, const int64_t *shape) {
    return put_tensor(out, name, ELEMENT_FLOAT, 4, dims, shape);
}

unsigned char *sd_onnx_put_integers(sd_protobuf *out, const char *name, int dims, const int64_t *shape) {
    return put_tensor(out, name, ELEMENT_INT64, 8, dims, shape);
}

static void put_shape(sd_protobuf *out, int n, const int *size) {
    const size_t shape = sd_protobuf_begin(out, TYPE_SHAPE);
    for (int i = -1; i < n; i++) {
        const size_t dim = sd_protobuf_begin(out, SHAPE_DIM);
        if (i < 0 || size[i] == 0)
            sd_protobuf_put_text(out, DIM_NAME, i < 0 ? "N" : "T");
        else
            sd_protobuf_put_int(out, DIM_VALUE, size[i]);
        sd_protobuf_end(out, dim);
    }
    sd_protobuf_end(out, shape);
}

static void put_value(sd_protobuf *out, int field, const char *name, int element, int n, const int *size) {
    const size_t value = sd_protobuf_begin(out, field);
    sd_protobuf_put_text(out, VALUE_NAME, name);
    const size_t type = sd_protobuf_begin(out, VALUE_TYPE), tensor = sd_protobuf_begin(out, TYPE_TENSOR);
    sd_protobuf_put_int(out, TYPE_ELEMENT, element);
    put_shape(out, n, size);
    sd_protobuf_end(out, tensor);
    sd_protobuf_end(out, type);
    sd_protobuf_end(out, value);
}

void sd_onnx_put_input(sd_protobuf *out, const char *name, int n, const int *size) {
    put_value(out, GRAPH_INPUT, name, ELEMENT_FLOAT, n, size);
}

void sd_onnx_put_integer_input(sd_protobuf *out, const char *name, int n, const int *size) {
    put_value(out, GRAPH_INPUT, name, ELEMENT_INT64, n, size);
}

void sd_onnx_put_output(sd_protobuf *out, const char *name, int n, const int *size) {
    put_value(out, GRAPH_OUTPUT, name, ELEMENT_FLOAT, n, size);
}
