/* Direct convolution as a product of two packed matrices, without ever holding the whole im2col matrix.
 *
 * All three passes walk a grid of pixels, each of which sees a list of taps of another image (struct gather). The taps of
 * a panel of pixels are packed into slices of 16 values, [slice][pixel][16]: edges become zeros, and the pixel stride
 * becomes a compile-time constant, which lets the register tiles below broadcast from fixed addresses. The weights HWIO
 * are already the right-hand matrix [tap * channel][k]; they are packed into column groups once a call.
 *
 *     forward           grid = output pixels; taps into x;  y[pixel, k] = A[pixel, tap*c] B[tap*c, k]
 *     backward data     grid = input pixels of one phase (h mod stride, w mod stride); taps into dy; B transposed
 *     backward weights  grid = output pixels; dw[tap*c, k] = A^T[tap*c, pixel] dy[pixel, k]
 */
#include <string.h>

#include "conv.h"
#include "tile.h"

/* ---- packing ---- */

static inline void copy_slice(const float *from, float *to) {
    UNROLL
    for (int v = 0; v < SLICE / VL; v++)
        store(to + v * VL, load(from + v * VL));
}

/* gather_run_any() for channels in whole slices, which then belong to one tap each. */
static void gather_run(const gather *g, const float *image, int i, int j0, int run, int slice0, int slice1, float *to,
                       size_t slice_elems) {
    const int slices_per_tap = g->in_c / SLICE;
    const size_t pixel_elems = (size_t)g->in_c, step_elems = (size_t)g->step * pixel_elems;
    for (int slice = slice0, t = slice0 / slices_per_tap; slice < slice1; t++) {
        const int end_of_tap = (t + 1) * slices_per_tap < slice1 ? (t + 1) * slices_per_tap : slice1;
        const int h = i * g->step + g->tap_h[t], w0 = j0 * g->step + g->tap_w[t];
        int begin = 0, end = h >= 0 && h < g->in_h ? run : 0; /* pixels whose tap lies inside the image */
        while (begin < end && w0 + begin * g->step < 0)
            begin++;
        while (end > begin && w0 + (end - 1) * g->step >= g->in_w)
            end--;
        for (; slice < end_of_tap; slice++, to += slice_elems) {
            memset(to, 0, (size_t)(begin < end ? begin : run) * SLICE * sizeof(float));
            if (begin == end)
                continue;
            memset(to + (size_t)end * SLICE, 0, (size_t)(run - end) * SLICE * sizeof(float));
            const float *from = image + ((size_t)h * (size_t)g->in_w + (size_t)(w0 + begin * g->step)) * pixel_elems +
                                (size_t)(slice - t * slices_per_tap) * SLICE;
            for (int p = begin; p < end; p++, from += step_elems)
                copy_slice(from, to + (size_t)p * SLICE);
        }
    }
}

/* Taps of pixels [first, first + count) of the grid, slices [slice0, slice1): panel[slice - slice0][pixel][16]. */
static void pack_panel(const gather *g, const float *in, size_t first, int count, int panel_pixels, int slice0,
                       int slice1, float *panel) {
    const size_t slice_elems = (size_t)panel_pixels * SLICE;
    for (int pixel = 0; pixel < count;) {
        size_t at = first + (size_t)pixel;
        int j0 = (int)(at % (size_t)g->grid_w);
        int i = (int)(at / (size_t)g->grid_w % (size_t)g->grid_h);
        size_t image = at / ((size_t)g->grid_w * (size_t)g->grid_h);
        int run = g->grid_w - j0 < count - pixel ? g->grid_w - j0 : count - pixel;
        const float *image_in = in + image * (size_t)g->in_h * (size_t)g->in_w * (size_t)g->in_c;
        if (g->in_c % SLICE == 0)
            gather_run(g, image_in, i, j0, run, slice0, slice1, panel + (size_t)pixel * SLICE, slice_elems);
        else
            gather_run_any(g, image_in, i, j0, run, slice0, slice1, panel + (size_t)pixel * SLICE, slice_elems);
        pixel += run;
    }
}

/* ---- the passes ---- */

/* out[pixel] = A[pixel] B for all pixels of the grid, B packed. */
static void gather_multiply(const gather *g, const float *in, const float *packed, size_t columns, float *out,
                            const scatter *to, float *panels) {
    const int slices = (int)panel_slices((size_t)g->taps * (size_t)g->in_c);
    const int panel_pixels = conv_panel_pixels((size_t)slices * SLICE);
    const size_t slice_elems = (size_t)panel_pixels * SLICE;
    const size_t pixels = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w;
    const size_t n_panels = (pixels + (size_t)panel_pixels - 1) / (size_t)panel_pixels;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < n_panels; n++) {
        size_t first = n * (size_t)panel_pixels;
        int count = pixels - first < (size_t)panel_pixels ? (int)(pixels - first) : panel_pixels;
        float *panel = panels + (size_t)conv_thread() * (size_t)slices * slice_elems;
        size_t offset[MAX_PANEL_PIXELS];
        pack_panel(g, in, first, count, panel_pixels, 0, slices, panel);
        scatter_offsets(g, to, first, count, columns, offset);
        SD_ISA_NAME(panel_multiply)(panel, slice_elems, slices, packed, columns, count, offset, out);
    }
}

void SD_ISA_NAME(conv2d_forward)(const sd_conv2d *conv, const float *x, const float *w, float *y, float *scratch) {
    const size_t k = (size_t)conv->k;
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    const size_t rows = (size_t)g.taps * (size_t)g.in_c;
    SD_ISA_NAME(pack_b)(w, rows, k, k, 1, 0, panel_slices(rows) * SLICE, scratch);
    gather_multiply(&g, x, scratch, k, y, &to, scratch + packed_b_elems(rows, k));
}

void SD_ISA_NAME(conv2d_backward_data)(const sd_conv2d *conv, const float *dy, const float *w, float *dx,
                                       float *scratch) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    for (int phase = 0; phase < conv->stride * conv->stride; phase++) {
        gather g;
        scatter to;
        int tap[SD_CONV2D_MAX_TAPS];
        gather_for_backward_data(conv, phase / conv->stride, phase % conv->stride, &g, &to, tap);
        if (g.grid_h <= 0 || g.grid_w <= 0)
            continue;
        if (g.taps == 0) { /* a pixel that no output has seen */
            scatter_zeros(&g, &to, c, dx);
            continue;
        }
        const size_t rows = (size_t)g.taps * k;
        for (size_t t = 0; t < (size_t)g.taps; t++) /* B[tap * k][c] = w[tap][c][k] */
            SD_ISA_NAME(pack_b)(w + (size_t)tap[t] * c * k, k, c, 1, k, t * k, panel_slices(rows) * SLICE, scratch);
        gather_multiply(&g, dy, scratch, c, dx, &to, scratch + packed_b_elems(rows, c));
    }
}

void SD_ISA_NAME(conv2d_backward_weights)(const sd_conv2d *conv, const float *x, const float *dy, float *dw,
                                          float *scratch) {
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    const size_t k = (size_t)conv->k, rows = (size_t)g.taps * (size_t)g.in_c;
    const int slices = (int)panel_slices(rows);
    const size_t pixels = (size_t)g.images * (size_t)g.grid_h * (size_t)g.grid_w;
    /* A thread owns whole blocks of slices, so each value of dw is summed by one thread, panel by panel, in order. */
    const int block = conv_weight_block(slices);
#pragma omp parallel for schedule(static)
    for (int slice0 = 0; slice0 < slices; slice0 += block) {
        const int slice1 = slice0 + block < slices ? slice0 + block : slices;
        const size_t row0 = (size_t)slice0 * SLICE;
        const size_t block_rows = ((size_t)slice1 * SLICE < rows ? (size_t)slice1 * SLICE : rows) - row0;
        float *panel = scratch + (size_t)conv_thread() * WEIGHT_BLOCK_SLICES * SLICE * WEIGHT_PANEL_PIXELS;
        memset(dw + row0 * k, 0, block_rows * k * sizeof(float));
        for (size_t first = 0; first < pixels; first += WEIGHT_PANEL_PIXELS) {
            int count = pixels - first < WEIGHT_PANEL_PIXELS ? (int)(pixels - first) : WEIGHT_PANEL_PIXELS;
            pack_panel(&g, x, first, count, WEIGHT_PANEL_PIXELS, slice0, slice1, panel);
            SD_ISA_NAME(panel_multiply_transposed)(panel, WEIGHT_PANEL_PIXELS * SLICE, block_rows, dy + first * k, k, k,
                                                   count, dw + row0 * k);
        }
    }
}
