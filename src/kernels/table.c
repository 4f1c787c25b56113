/* SPDX-License-Identifier: Apache-2.0 */
/* The table of one instruction set; compiled once for each. */
#include "table.h"

const sd_kernels SD_ISA_NAME(sd_kernels) = {.name = SD_ISA_STRING(SD_ISA),
#define TABLE_ENTRY(kernel) .kernel = SD_ISA_NAME(kernel),
                                            SD_KERNEL_LIST(TABLE_ENTRY)
#undef TABLE_ENTRY
};
