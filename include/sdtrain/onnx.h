/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX files: a trained network for inference runtimes.
 *
 * Local. IR version 8, operators of opset 17 (ONNX 1.12), weights within the file. Input "input": float32 [N, C, H, W],
 * any N, normalised as in training; or of a network that reads texts, int64 [N, T] each, any N and T: "input_ids",
 * "attention_mask" (1: a token, 0: padding behind it) and "token_type_ids", as Hugging Face's BERT has them. Output
 * "logits": float32 [N, classes]. Weights have the names, shapes and bits of PyTorch's state_dict; but the matrix of a
 * linear layer is there as "NAME.T", [in, out], as MatMul takes it. */
#ifndef SDTRAIN_ONNX_H
#define SDTRAIN_ONNX_H

#include "sdtrain/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the file whole or not at all (sd_file_write()). Same input, same bytes: those that protobuf's own libraries
 * write.
 *
 * graph: sd_network_describe(); values: of its network; metadata: key, value, ..., NULL; NULL: none.
 *
 * SD_ERR_DATA if it would have 2 GB (2^31 bytes) or more, which protobuf does not allow. SD_ERR_IO; SD_ERR_MEMORY. */
sd_status sd_onnx_write(const char *path, const sd_graph *graph, const float *values, const char *const *metadata);

#ifdef __cplusplus
}
#endif
#endif
