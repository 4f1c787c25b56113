/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: the ONNX file of `sdtrain export`. */
#ifndef SDTRAIN_CLI_EXPORT_H
#define SDTRAIN_CLI_EXPORT_H

#include "loaded.h"

/* Writes the evaluation of a network whose state is loaded. rate: of its units (sd_rates_of()); metadata: key, value,
 * ..., NULL. Errors of sd_onnx_write(). */
sd_status sd_export_onnx(const sd_loaded *loaded, double *rate, const char *out, const char *const *metadata);

#endif
