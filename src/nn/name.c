/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "network.h"

sd_status sd_name_format(char name[SD_NAME_BYTES], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(name, SD_NAME_BYTES, format, arguments);
    va_end(arguments);
    return length < SD_NAME_BYTES ? SD_OK
                                  : sd_fail(SD_ERR_INTERNAL, "a name of %d characters, where at most %d fit: '%s...'",
                                            length, SD_NAME_BYTES - 1, name);
}
