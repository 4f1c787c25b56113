/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: the formats that `sdtrain export` writes. */
#ifndef SDTRAIN_CLI_EXPORT_H
#define SDTRAIN_CLI_EXPORT_H

#include "sdtrain/status.h"

/* Writes the network of a checkpoint, as evaluation computes it, as an ONNX file. Errors of loading (loaded.h) and of
 * sd_onnx_write(); SD_ERR_USAGE if out is the checkpoint. */
sd_status sd_export_onnx(const char *checkpoint, const char *out);

#endif
