/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain export: the network of a checkpoint in another program's format. */
#include "export.h"

#include <string.h>

#include "tools.h"

sd_status sd_tool_export(int n, char **words, int *exit_code) {
    const char *checkpoint = NULL, *onnx = NULL;
    (void)exit_code;
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--onnx")) {
            if (i + 1 == n)
                return sd_fail(SD_ERR_USAGE, "export --onnx needs the name of a file behind it");
            onnx = words[++i];
        } else if (words[i][0] == '-') {
            return sd_fail(SD_ERR_USAGE, "export has no option %s (--help lists all)", words[i]);
        } else if (checkpoint) {
            return sd_fail(SD_ERR_USAGE, "export takes one checkpoint; a second is given, %s", words[i]);
        } else {
            checkpoint = words[i];
        }
    }
    if (!checkpoint || !onnx)
        return sd_fail(SD_ERR_USAGE, "export needs a checkpoint and --onnx FILE (--help shows how)");
    return sd_export_onnx(checkpoint, onnx);
}
