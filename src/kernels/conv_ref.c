/* The plain twins of the convolutions: the definition, loop by loop, which the tests compare with. */
#include <string.h>

#include "epilogue.h"
#include "operand.h"

typedef struct cursor {
    size_t x, y, w; /* offsets of the channel vectors at an image pixel, an output pixel and a tap */
} cursor;

/* Calls visit for every (output pixel, tap) whose image pixel exists. */
static void for_each_tap(const sd_conv2d *conv,
                         void (*visit)(const sd_conv2d *, cursor, const sd_operand *, const float *, float *),
                         const sd_operand *a, const float *b, float *out) {
    int oh = sd_conv2d_out_h(conv), ow = sd_conv2d_out_w(conv);
    for (int n = 0; n < conv->images; n++)
        for (int p = 0; p < oh; p++)
            for (int q = 0; q < ow; q++)
                for (int i = 0; i < conv->r; i++)
                    for (int j = 0; j < conv->s; j++) {
                        int h = p * conv->stride + i - conv->pad, w = q * conv->stride + j - conv->pad;
                        if (h < 0 || h >= conv->h || w < 0 || w >= conv->w)
                            continue;
                        size_t k = (size_t)conv->k, c = (size_t)conv->c;
                        visit(conv,
                              (cursor){.x = ((size_t)(n * conv->h + h) * (size_t)conv->w + (size_t)w) * c,
                                       .y = ((size_t)(n * oh + p) * (size_t)ow + (size_t)q) * k,
                                       .w = (size_t)(i * conv->s + j) * c * k},
                              a, b, out);
                    }
}

static void visit_forward(const sd_conv2d *conv, cursor at, const sd_operand *x, const float *w, float *y) {
    for (int c = 0; c < conv->c; c++)
        for (int k = 0; k < conv->k; k++)
            y[at.y + (size_t)k] += operand_value(x, at.x + (size_t)c, (size_t)c) * w[at.w + (size_t)(c * conv->k + k)];
}

static void visit_data(const sd_conv2d *conv, cursor at, const sd_operand *dy, const float *w, float *dx) {
    for (int c = 0; c < conv->c; c++)
        for (int k = 0; k < conv->k; k++)
            dx[at.x + (size_t)c] += dy->u[at.y + (size_t)k] * w[at.w + (size_t)(c * conv->k + k)];
}

static void visit_weights(const sd_conv2d *conv, cursor at, const sd_operand *x, const float *dy, float *dw) {
    for (int c = 0; c < conv->c; c++)
        for (int k = 0; k < conv->k; k++)
            dw[at.w + (size_t)(c * conv->k + k)] +=
                operand_value(x, at.x + (size_t)c, (size_t)c) * dy[at.y + (size_t)k];
}

static size_t elems(int a, int b, int c, int d) { return (size_t)a * (size_t)b * (size_t)c * (size_t)d; }

void conv2d_forward_ref(const sd_conv2d *conv, const sd_operand *x, const float *w, float *y,
                        const sd_epilogue *epilogue, float *scratch) {
    const size_t rows = elems(conv->images, sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), 1);
    memset(y, 0, rows * (size_t)conv->k * sizeof(float));
    for_each_tap(conv, visit_forward, x, w, y);
    if (epilogue)
        finish_ref(rows, conv->k, y, epilogue, scratch);
}

void conv2d_backward_data_ref(const sd_conv2d *conv, const float *dy, const float *w, float *dx,
                              const sd_epilogue *epilogue, float *scratch) {
    const size_t rows = elems(conv->images, conv->h, conv->w, 1);
    const sd_operand from = sd_plain(dy);
    memset(dx, 0, rows * (size_t)conv->c * sizeof(float));
    for_each_tap(conv, visit_data, &from, w, dx);
    if (epilogue)
        finish_ref(rows, conv->c, dx, epilogue, scratch);
}

void conv2d_backward_weights_ref(const sd_conv2d *conv, const sd_operand *x, const float *dy, float *dw,
                                 float *scratch) {
    (void)scratch;
    memset(dw, 0, elems(conv->r, conv->s, conv->c, conv->k) * sizeof(float));
    for_each_tap(conv, visit_weights, x, dy, dw);
}
