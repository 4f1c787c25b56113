#include <omp.h>
#include <string.h>

#include "conv.h"

int sd_conv2d_out_h(const sd_conv2d *conv) { return (conv->h + 2 * conv->pad - conv->r) / conv->stride + 1; }

int sd_conv2d_out_w(const sd_conv2d *conv) { return (conv->w + 2 * conv->pad - conv->s) / conv->stride + 1; }

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

enum { PANEL_BYTES = 96 * 1024 };

/* What a panel takes at most with rows of this length or a part of them (a phase of a strided convolution). */
static size_t panel_bound_elems(size_t row_elems) {
    size_t least = MIN_PANEL_PIXELS * row_elems, usual = PANEL_BYTES / sizeof(float);
    return least > usual ? least : usual;
}

size_t sd_conv2d_scratch_elems(const sd_conv2d *conv) {
    size_t taps = (size_t)conv->r * (size_t)conv->s, c = (size_t)conv->c, k = (size_t)conv->k;
    size_t threads = (size_t)omp_get_max_threads();
    size_t rows_forward = round_up(taps * c, SLICE), rows_backward = round_up(taps * k, SLICE);
    size_t forward = packed_b_elems(rows_forward, k) + threads * panel_bound_elems(rows_forward);
    size_t backward = packed_b_elems(rows_backward, c) + threads * panel_bound_elems(rows_backward);
    size_t weights = threads * WEIGHT_BLOCK_SLICES * SLICE * WEIGHT_PANEL_PIXELS;
    size_t most = forward > backward ? forward : backward;
    return most > weights ? most : weights;
}

int conv_panel_pixels(size_t row_elems) {
    size_t pixels = PANEL_BYTES / (row_elems * sizeof(float)) / MIN_PANEL_PIXELS * MIN_PANEL_PIXELS;
    return pixels < MIN_PANEL_PIXELS ? MIN_PANEL_PIXELS : pixels > MAX_PANEL_PIXELS ? MAX_PANEL_PIXELS : (int)pixels;
}

int conv_weight_block(int slices) {
    int block = (slices + 3) / 4; /* at least four pieces, for four threads */
    return block < WEIGHT_BLOCK_SLICES ? block : WEIGHT_BLOCK_SLICES;
}

int conv_thread(void) { return omp_get_thread_num(); }

void gather_for_forward(const sd_conv2d *conv, gather *g, scatter *to) {
    *g = (gather){.images = conv->images,
                  .grid_h = sd_conv2d_out_h(conv),
                  .grid_w = sd_conv2d_out_w(conv),
                  .in_h = conv->h,
                  .in_w = conv->w,
                  .in_c = conv->c,
                  .step = conv->stride};
    for (int r = 0; r < conv->r; r++)
        for (int s = 0; s < conv->s; s++) {
            g->tap_h[g->taps] = r - conv->pad;
            g->tap_w[g->taps++] = s - conv->pad;
        }
    *to = (scatter){.h = g->grid_h, .w = g->grid_w, .step = 1};
}

void gather_for_backward_data(const sd_conv2d *conv, int phase_h, int phase_w, gather *g, scatter *to, int *tap) {
    const int stride = conv->stride;
    *g = (gather){.images = conv->images,
                  .grid_h = (conv->h - phase_h + stride - 1) / stride,
                  .grid_w = (conv->w - phase_w + stride - 1) / stride,
                  .in_h = sd_conv2d_out_h(conv),
                  .in_w = sd_conv2d_out_w(conv),
                  .in_c = conv->k,
                  .step = 1};
    *to = (scatter){.h = conv->h, .w = conv->w, .h0 = phase_h, .w0 = phase_w, .step = stride};
    /* Input row h = phase + stride * i was seen through weight r by output row (h + pad - r) / stride, if that is whole. */
    for (int r = 0; r < conv->r; r++)
        for (int s = 0; s < conv->s; s++) {
            int h = phase_h + conv->pad - r, w = phase_w + conv->pad - s;
            if (h % stride == 0 && w % stride == 0) {
                tap[g->taps] = r * conv->s + s;
                g->tap_h[g->taps] = h / stride;
                g->tap_w[g->taps++] = w / stride;
            }
        }
}

void gather_run_any(const gather *g, const float *image, int i, int j0, int run, int slice0, int slice1, float *to,
                    size_t slice_elems) {
    const int rows = g->taps * g->in_c;
    for (int row = slice0 * SLICE; row < slice1 * SLICE; row++) {
        float *lane = to + (size_t)(row / SLICE - slice0) * slice_elems + row % SLICE;
        int t = row < rows ? row / g->in_c : 0;
        int h = i * g->step + g->tap_h[t];
        bool inside = row < rows && h >= 0 && h < g->in_h;
        for (int p = 0; p < run; p++) {
            int w = (j0 + p) * g->step + g->tap_w[t];
            lane[(size_t)p * SLICE] =
                inside && w >= 0 && w < g->in_w
                    ? image[((size_t)h * (size_t)g->in_w + (size_t)w) * (size_t)g->in_c + (size_t)(row % g->in_c)]
                    : 0.0f;
        }
    }
}

static size_t scatter_offset(const gather *g, const scatter *to, size_t pixel, size_t columns) {
    size_t j = pixel % (size_t)g->grid_w, i = pixel / (size_t)g->grid_w % (size_t)g->grid_h;
    size_t image = pixel / ((size_t)g->grid_w * (size_t)g->grid_h);
    size_t h = i * (size_t)to->step + (size_t)to->h0, w = j * (size_t)to->step + (size_t)to->w0;
    return ((image * (size_t)to->h + h) * (size_t)to->w + w) * columns;
}

void scatter_offsets(const gather *g, const scatter *to, size_t first, int count, size_t columns, size_t *offset) {
    for (int p = 0; p < count; p++)
        offset[p] = to->step == 1 ? (first + (size_t)p) * columns : scatter_offset(g, to, first + (size_t)p, columns);
}

void scatter_zeros(const gather *g, const scatter *to, size_t columns, float *out) {
    size_t pixels = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w;
    for (size_t p = 0; p < pixels; p++)
        memset(out + scatter_offset(g, to, p, columns), 0, columns * sizeof(float));
}
