/* SPDX-License-Identifier: Apache-2.0 */
/* Private to kernels/: the list of kernels, and their declarations for the instruction set being compiled. */
#ifndef SDTRAIN_KERNELS_TABLE_H
#define SDTRAIN_KERNELS_TABLE_H

#include "isa.h"

#define SD_KERNEL_LIST(X)                                                                                              \
    X(conv2d_forward)                                                                                                  \
    X(conv2d_backward)                                                                                                 \
    X(store_operand)                                                                                                   \
    X(apply_epilogue)                                                                                                  \
    X(layernorm_statistics)                                                                                            \
    X(layernorm_backward)                                                                                              \
    X(scale)                                                                                                           \
    X(accumulate)                                                                                                      \
    X(map)                                                                                                             \
    X(linear_forward)                                                                                                  \
    X(linear_backward)                                                                                                 \
    X(attention_forward)                                                                                               \
    X(attention_backward)                                                                                              \
    X(embedding_forward)                                                                                               \
    X(embedding_backward)                                                                                              \
    X(maxpool_forward)                                                                                                 \
    X(maxpool_backward)                                                                                                \
    X(avgpool_forward)                                                                                                 \
    X(avgpool_backward)                                                                                                \
    X(subsample_forward)                                                                                               \
    X(subsample_backward)                                                                                              \
    X(cross_entropy_forward)                                                                                           \
    X(cross_entropy_backward)

/* Declares each kernel with the type of its pointer in sd_kernels. The files that define kernels include this, so that
 * a definition of another type does not compile. */
#define DECLARE_KERNEL(kernel) extern __typeof__(*((sd_kernels *)0)->kernel) SD_ISA_NAME(kernel);
SD_KERNEL_LIST(DECLARE_KERNEL)
#undef DECLARE_KERNEL

#endif
