/* SPDX-License-Identifier: Apache-2.0 */
/* The reference convolutions: the definition, loop by loop. */
#include <string.h>

#include "epilogue.h"
#include "operand.h"
#include "table.h"

typedef struct cursor {
    size_t x, y, w; /* offsets of the channel vectors at an image pixel, an output pixel and a tap */
} cursor;

typedef void visitor(const sd_conv2d *conv, cursor at, const sd_operand *x, const sd_operand *dy, const float *w,
                     float *out);

/* Calls visit for every (output pixel, tap) inside the image. */
static void for_each_tap(const sd_conv2d *conv, visitor *visit, const sd_operand *x, const sd_operand *dy,
                         const float *w, float *out) {
    int oh = sd_conv2d_out_h(conv), ow = sd_conv2d_out_w(conv);
    for (int n = 0; n < conv->images; n++)
        for (int p = 0; p < oh; p++)
            for (int q = 0; q < ow; q++)
                for (int i = 0; i < conv->r; i++)
                    for (int j = 0; j < conv->s; j++) {
                        int ih = p * conv->stride + i - conv->pad, iw = q * conv->stride + j - conv->pad;
                        if (ih < 0 || ih >= conv->h || iw < 0 || iw >= conv->w)
                            continue;
                        size_t k = (size_t)conv->k, c = (size_t)conv->c;
                        visit(conv,
                              (cursor){.x = ((size_t)(n * conv->h + ih) * (size_t)conv->w + (size_t)iw) * c,
                                       .y = ((size_t)(n * oh + p) * (size_t)ow + (size_t)q) * k,
                                       .w = (size_t)(i * conv->s + j) * c * k},
                              x, dy, w, out);
                    }
}

static void visit_forward(const sd_conv2d *conv, cursor at, const sd_operand *x, const sd_operand *dy, const float *w,
                          float *y) {
    (void)dy;
    for (int c = 0; c < conv->c; c++)
        for (int k = 0; k < conv->k; k++)
            y[at.y + (size_t)k] += operand_value(x, at.x + (size_t)c, (size_t)c) * w[at.w + (size_t)(c * conv->k + k)];
}

static void visit_data(const sd_conv2d *conv, cursor at, const sd_operand *x, const sd_operand *dy, const float *w,
                       float *dx) {
    (void)x;
    for (int k = 0; k < conv->k; k++) {
        const float d = operand_value(dy, at.y + (size_t)k, (size_t)k);
        for (int c = 0; c < conv->c; c++)
            dx[at.x + (size_t)c] += d * w[at.w + (size_t)(c * conv->k + k)];
    }
}

static void visit_weights(const sd_conv2d *conv, cursor at, const sd_operand *x, const sd_operand *dy, const float *w,
                          float *dw) {
    (void)w;
    for (int k = 0; k < conv->k; k++) {
        const float d = operand_value(dy, at.y + (size_t)k, (size_t)k);
        for (int c = 0; c < conv->c; c++)
            dw[at.w + (size_t)(c * conv->k + k)] += operand_value(x, at.x + (size_t)c, (size_t)c) * d;
    }
}

static size_t elems(int a, int b, int c, int d) { return (size_t)a * (size_t)b * (size_t)c * (size_t)d; }

void conv2d_forward_ref(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                        const sd_epilogue *epilogue, sd_scratch scratch) {
    const size_t rows = elems(conv->images, sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), 1);
    memset(y, 0, rows * (size_t)conv->k * sizeof(float));
    for_each_tap(conv, visit_forward, x, NULL, w, y);
    if (epilogue)
        apply_epilogue_ref(rows, conv->k, y, epilogue, scratch);
}

void conv2d_backward_ref(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                         float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    const size_t rows = elems(conv->images, conv->h, conv->w, 1);
    memset(dw, 0, elems(conv->r, conv->s, conv->c, conv->k) * sizeof(float));
    for_each_tap(conv, visit_weights, x, dy, NULL, dw);
    if (!dx)
        return;
    memset(dx, 0, rows * (size_t)conv->c * sizeof(float));
    for_each_tap(conv, visit_data, x, dy, w, dx);
    if (epilogue)
        apply_epilogue_ref(rows, conv->c, dx, epilogue, scratch);
}
