/* The three passes: each goes to the algorithm that the shape asks for. */
#include "conv.h"

void SD_ISA_NAME(conv2d_forward)(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                                 const sd_epilogue *epilogue, float *scratch) {
    const conv3x3 small = conv3x3_forward(conv, w);
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        SD_ISA_NAME(conv_winograd)(&small, x, y, epilogue, scratch);
        break;
    case CONV_ROWS:
        SD_ISA_NAME(conv_rows)(&small, x, y, epilogue, scratch);
        break;
    case CONV_PANELS:
        SD_ISA_NAME(conv_panels_forward)(conv, x, w, y, epilogue, scratch);
        break;
    }
}

void SD_ISA_NAME(conv2d_backward_data)(const sd_conv2d *conv, const float *dy, const float *w, float *dx,
                                       const sd_epilogue *epilogue, float *scratch) {
    const sd_operand in = sd_plain(dy);
    const conv3x3 small = conv3x3_backward_data(conv, w);
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        SD_ISA_NAME(conv_winograd)(&small, &in, dx, epilogue, scratch);
        break;
    case CONV_ROWS:
        SD_ISA_NAME(conv_rows)(&small, &in, dx, epilogue, scratch);
        break;
    case CONV_PANELS:
        SD_ISA_NAME(conv_panels_backward_data)(conv, dy, w, dx, epilogue, scratch);
        break;
    }
}

void SD_ISA_NAME(conv2d_backward_weights)(const sd_conv2d *conv, const sd_operand *x, const float *dy, float *dw,
                                          float *scratch) {
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        SD_ISA_NAME(conv_winograd_backward_weights)(conv, x, dy, dw, scratch);
        break;
    case CONV_ROWS:
        SD_ISA_NAME(conv_rows_backward_weights)(conv, x, dy, dw, scratch);
        break;
    case CONV_PANELS:
        SD_ISA_NAME(conv_panels_backward_weights)(conv, x, dy, dw, scratch);
        break;
    }
}
