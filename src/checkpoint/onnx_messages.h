/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: the messages of an ONNX file, with the field numbers of onnx.proto (IR version 8). Fields are
 * put in the order of their numbers, as protobuf's own libraries do. */
#ifndef SDTRAIN_CHECKPOINT_ONNX_MESSAGES_H
#define SDTRAIN_CHECKPOINT_ONNX_MESSAGES_H

#include "protobuf.h"

/* ---- model: begin, graph, end ---- */

void sd_onnx_begin_model(sd_protobuf *out, const char *producer, const char *version);
/* opset: of ONNX's own operators; metadata: key, value, ..., NULL; NULL: none. */
void sd_onnx_end_model(sd_protobuf *out, int opset, const char *const *metadata);

/* ---- graph: begin, nodes, name, initializers, input, output, end ---- */

size_t sd_onnx_begin_graph(sd_protobuf *out);
void sd_onnx_end_graph(sd_protobuf *out, size_t place);

typedef enum sd_onnx_attribute_type { SD_ONNX_FLOAT = 1, SD_ONNX_INT = 2, SD_ONNX_INTS = 7 } sd_onnx_attribute_type;

typedef struct sd_onnx_attribute {
    const char *name; /* NULL: the end of a list */
    sd_onnx_attribute_type type;
    float number;
    int n;
    int64_t integer[5]; /* [n] */
} sd_onnx_attribute;

/* A node, which has the name of its output. type: the operator; inputs: ends with NULL. */
void sd_onnx_put_node(sd_protobuf *out, const char *type, const char *const *inputs, const char *output,
                      const sd_onnx_attribute *attributes);

void sd_onnx_put_graph_name(sd_protobuf *out, const char *name);

/* Initializers, whose bytes (sd_elements_from_*()) the caller writes before any other call to the place that is
 * returned; NULL after an error. dims 0: a scalar. */
unsigned char *sd_onnx_put_floats(sd_protobuf *out, const char *name, int dims, const int64_t *shape);
unsigned char *sd_onnx_put_integers(sd_protobuf *out, const char *name, int dims, const int64_t *shape);

/* A tensor [N, size[0], size[1], ...] of floats, or of 64-bit integers; any N. A size of 0 is any T. */
void sd_onnx_put_input(sd_protobuf *out, const char *name, int n, const int *size);
void sd_onnx_put_integer_input(sd_protobuf *out, const char *name, int n, const int *size);
void sd_onnx_put_output(sd_protobuf *out, const char *name, int n, const int *size);

#endif
