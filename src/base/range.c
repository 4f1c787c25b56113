/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/range.h"

sd_range sd_range_share(uint64_t n, int part, int parts) {
    uint64_t first = n * (uint64_t)part / (uint64_t)parts, end = n * ((uint64_t)part + 1) / (uint64_t)parts;
    return (sd_range){first, end - first};
}
