/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: what `sdtrain export` writes beside a safetensors file. */
#ifndef SDTRAIN_CLI_EXPORT_H
#define SDTRAIN_CLI_EXPORT_H

#include "loaded.h"

/* Writes the evaluation of a network whose state is loaded. rate: of its units (sd_rates_of()); metadata: key, value,
 * ..., NULL. Errors of sd_onnx_write(). */
sd_status sd_export_onnx(const sd_loaded *loaded, double *rate, const char *out, const char *const *metadata);

/* Writes what Hugging Face's from_pretrained() needs beside a BERT's model.safetensors into the folder, which is there:
 * config.json, tokenizer_config.json, vocab.txt, one after another. Errors of sd_file_put(). */
sd_status sd_export_folder(const sd_loaded *loaded, const char *folder);

#endif
