/* SPDX-License-Identifier: Apache-2.0 */
/* Both passes call the algorithm that conv_choose() selects by shape. */
#include "conv.h"

#include "table.h"

void SD_ISA_NAME(conv2d_forward)(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                                 const sd_epilogue *epilogue, sd_scratch scratch) {
    const conv3x3 small = conv3x3_forward(conv, w);
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        conv_winograd_forward(&small, x, y, epilogue, scratch);
        break;
    case CONV_ROWS:
        conv_rows_forward(&small, x, y, epilogue, scratch);
        break;
    case CONV_POINTWISE:
    case CONV_PANELS:
        conv_panels_forward(conv, x, w, y, epilogue, scratch);
        break;
    }
}

void SD_ISA_NAME(conv2d_backward)(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w,
                                  float *dw, float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        conv_winograd_backward(conv, x, dy, w, dw, dx, epilogue, scratch);
        break;
    case CONV_ROWS:
        conv_rows_backward(conv, x, dy, w, dw, dx, epilogue, scratch);
        break;
    case CONV_POINTWISE:
        conv_pointwise_backward(conv, x, dy, w, dw, dx, epilogue, scratch);
        break;
    case CONV_PANELS:
        conv_panels_backward(conv, x, dy, w, dw, dx, epilogue, scratch);
        break;
    }
}
