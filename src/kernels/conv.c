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
#include "isa.h"

typedef float vec __attribute__((vector_size(SD_VECTOR_FLOATS * sizeof(float)), aligned(4), may_alias));

enum {
    VL = SD_VECTOR_FLOATS,
    TILE_PIXELS = VL == 16 ? 14 : 6, /* times 2 vectors: what fits the registers beside the weights */
    TILE_LANES = VL == 16 ? 8 : 4,   /* backward weights: rows of dw a tile holds, times 2 vectors */
    WIDE = 2 * VL,
};

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }

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

/* Column group [column, column + width) of b: [rows][width], missing rows and columns zero. rows_padded % SLICE == 0. */
static void pack_columns(const float *b, size_t rows, size_t rows_padded, size_t columns, size_t column, size_t width,
                         float *packed) {
    size_t valid = columns - column < width ? columns - column : width;
    for (size_t i = 0; i < rows_padded; i++, packed += width) {
        if (i < rows)
            memcpy(packed, b + i * columns + column, valid * sizeof(float));
        else
            valid = 0;
        memset(packed + valid, 0, (width - valid) * sizeof(float));
    }
}

/* ---- register tiles ---- */

/* acc[pixel][vector] = sum over slices and their 16 values of a * b; then stored to out + offset[pixel]. */
static inline __attribute__((always_inline)) void tile_forward(const int vectors, const float *a, size_t slice_elems,
                                                               const float *b, int slices, float *out,
                                                               const size_t *offset, int pixels, size_t columns) {
    vec acc[2 * TILE_PIXELS];
    UNROLL
    for (int i = 0; i < vectors * TILE_PIXELS; i++)
        acc[i] = (vec){0};
    for (int slice = 0; slice < slices; slice++, a += slice_elems) {
        for (int value = 0; value < SLICE; value++, b += vectors * VL) {
            vec weight[2];
            UNROLL
            for (int v = 0; v < vectors; v++)
                weight[v] = load(b + v * VL);
            UNROLL
            for (int p = 0; p < TILE_PIXELS; p++) {
                float x = a[p * SLICE + value];
                UNROLL
                for (int v = 0; v < vectors; v++)
                    acc[p * vectors + v] += weight[v] * x;
            }
        }
    }
    if (pixels == TILE_PIXELS && columns == (size_t)(vectors * VL)) {
        UNROLL
        for (int p = 0; p < TILE_PIXELS; p++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                store(out + offset[p] + v * VL, acc[p * vectors + v]);
        }
        return;
    }
    float spill[TILE_PIXELS][2 * VL];
    UNROLL
    for (int p = 0; p < TILE_PIXELS; p++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            store(&spill[p][v * VL], acc[p * vectors + v]);
    }
    for (int p = 0; p < pixels; p++)
        memcpy(out + offset[p], spill[p], columns * sizeof(float));
}

static __attribute__((noinline)) void tile_forward_wide(const float *a, size_t slice_elems, const float *b, int slices,
                                                        float *out, const size_t *offset, int pixels, size_t columns) {
    tile_forward(2, a, slice_elems, b, slices, out, offset, pixels, columns);
}

static __attribute__((noinline)) void tile_forward_narrow(const float *a, size_t slice_elems, const float *b,
                                                          int slices, float *out, const size_t *offset, int pixels,
                                                          size_t columns) {
    tile_forward(1, a, slice_elems, b, slices, out, offset, pixels, columns);
}

/* dw[lane][vector] += sum over pixels of a[pixel][lane] * dy[pixel][vector], rows of dw `columns` apart. */
static inline __attribute__((always_inline)) void tile_weights(const int lanes, const int vectors, const float *a,
                                                               const float *dy, int pixels, size_t columns, float *dw) {
    vec acc[2 * SLICE];
    UNROLL
    for (int i = 0; i < lanes * vectors; i++)
        acc[i] = (vec){0};
    for (int p = 0; p < pixels; p++, a += SLICE, dy += columns) {
        vec d[2];
        UNROLL
        for (int v = 0; v < vectors; v++)
            d[v] = load(dy + v * VL);
        UNROLL
        for (int l = 0; l < lanes; l++) {
            float x = a[l];
            UNROLL
            for (int v = 0; v < vectors; v++)
                acc[l * vectors + v] += d[v] * x;
        }
    }
    UNROLL
    for (int l = 0; l < lanes; l++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = dw + (size_t)l * columns + (size_t)(v * VL);
            store(to, load(to) + acc[l * vectors + v]);
        }
    }
}

static __attribute__((noinline)) void tile_weights_wide(const float *a, const float *dy, int pixels, size_t columns,
                                                        float *dw) {
    tile_weights(TILE_LANES, 2, a, dy, pixels, columns, dw);
}

static __attribute__((noinline)) void tile_weights_narrow(const float *a, const float *dy, int pixels, size_t columns,
                                                          float *dw) {
    tile_weights(TILE_LANES, 1, a, dy, pixels, columns, dw);
}

/* The rest: any number of lanes and columns. */
static void tile_weights_any(int lanes, size_t width, const float *a, const float *dy, int pixels, size_t columns,
                             float *dw) {
    for (int l = 0; l < lanes; l++)
        for (size_t o = 0; o < width; o++) {
            float sum = 0;
            for (int p = 0; p < pixels; p++)
                sum += a[p * SLICE + l] * dy[(size_t)p * columns + o];
            dw[(size_t)l * columns + o] += sum;
        }
}

/* ---- the passes ---- */

/* out[pixel] = A[pixel] b for all pixels of the grid; b: [taps * in_c, columns]. */
static void gather_multiply(const gather *g, const float *in, const float *b, size_t columns, float *out,
                            const scatter *to, float *scratch) {
    const size_t rows = (size_t)g->taps * (size_t)g->in_c;
    const int slices = (int)((rows + SLICE - 1) / SLICE);
    const size_t rows_padded = (size_t)slices * SLICE;
    float *packed = scratch;
    float *panels = packed + rows_padded * ((columns + WIDE - 1) / WIDE * WIDE);
    for (size_t column = 0; column < columns;) {
        size_t width = columns - column > VL ? WIDE : VL;
        pack_columns(b, rows, rows_padded, columns, column, width, packed + column * rows_padded);
        column += width;
    }
    const int panel_pixels = conv_panel_pixels(rows_padded);
    const size_t pixels = (size_t)g->images * (size_t)g->grid_h * (size_t)g->grid_w;
    const size_t n_panels = (pixels + (size_t)panel_pixels - 1) / (size_t)panel_pixels;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < n_panels; n++) {
        size_t first = n * (size_t)panel_pixels;
        int count = pixels - first < (size_t)panel_pixels ? (int)(pixels - first) : panel_pixels;
        float *panel = panels + (size_t)conv_thread() * rows_padded * (size_t)panel_pixels;
        size_t offset[MAX_PANEL_PIXELS];
        pack_panel(g, in, first, count, panel_pixels, 0, slices, panel);
        scatter_offsets(g, to, first, count, columns, offset);
        for (size_t column = 0; column < columns;) {
            bool wide = columns - column > VL;
            size_t width = wide ? WIDE : VL;
            size_t valid = columns - column < width ? columns - column : width;
            for (int p = 0; p < count; p += TILE_PIXELS)
                (wide ? tile_forward_wide : tile_forward_narrow)(
                    panel + (size_t)p * SLICE, (size_t)panel_pixels * SLICE, packed + column * rows_padded, slices,
                    out + column, offset + p, count - p < TILE_PIXELS ? count - p : TILE_PIXELS, valid);
            column += width;
        }
    }
}

void SD_ISA_NAME(conv2d_forward)(const sd_conv2d *conv, const float *x, const float *w, float *y, float *scratch) {
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    gather_multiply(&g, x, w, (size_t)conv->k, y, &to, scratch);
}

void SD_ISA_NAME(conv2d_backward_data)(const sd_conv2d *conv, const float *dy, const float *w, float *dx,
                                       float *scratch) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    float *transposed = scratch;
    float *rest = scratch + (size_t)conv->r * (size_t)conv->s * c * k;
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
#pragma omp parallel for schedule(static)
        for (int t = 0; t < g.taps; t++)
            transpose(w + (size_t)tap[t] * c * k, c, k, transposed + (size_t)t * c * k);
        gather_multiply(&g, dy, transposed, c, dx, &to, rest);
    }
}

void SD_ISA_NAME(conv2d_backward_weights)(const sd_conv2d *conv, const float *x, const float *dy, float *dw,
                                          float *scratch) {
    gather g;
    scatter to;
    gather_for_forward(conv, &g, &to);
    const size_t k = (size_t)conv->k, rows = (size_t)g.taps * (size_t)g.in_c;
    const int slices = (int)((rows + SLICE - 1) / SLICE);
    const size_t pixels = (size_t)g.images * (size_t)g.grid_h * (size_t)g.grid_w;
    /* A thread owns whole blocks of slices, so each value of dw is summed by one thread, panel by panel, in order. */
    const int block = conv_weight_block(slices);
#pragma omp parallel for schedule(static)
    for (int slice0 = 0; slice0 < slices; slice0 += block) {
        int slice1 = slice0 + block < slices ? slice0 + block : slices;
        size_t row1 = (size_t)slice1 * SLICE < rows ? (size_t)slice1 * SLICE : rows;
        float *panel = scratch + (size_t)conv_thread() * WEIGHT_BLOCK_SLICES * SLICE * WEIGHT_PANEL_PIXELS;
        memset(dw + (size_t)slice0 * SLICE * k, 0, (row1 - (size_t)slice0 * SLICE) * k * sizeof(float));
        for (size_t first = 0; first < pixels; first += WEIGHT_PANEL_PIXELS) {
            int count = pixels - first < WEIGHT_PANEL_PIXELS ? (int)(pixels - first) : WEIGHT_PANEL_PIXELS;
            pack_panel(&g, x, first, count, WEIGHT_PANEL_PIXELS, slice0, slice1, panel);
            for (size_t o = 0; o < k;) {
                size_t width = k - o >= WIDE ? WIDE : k - o >= VL ? VL : k - o;
                const float *d = dy + first * k + o;
                for (size_t row = (size_t)slice0 * SLICE; row < row1; row += TILE_LANES) {
                    const float *a = panel + (row / SLICE - (size_t)slice0) * WEIGHT_PANEL_PIXELS * SLICE + row % SLICE;
                    float *to_dw = dw + row * k + o;
                    if (row1 - row < TILE_LANES || width < VL)
                        tile_weights_any(row1 - row < TILE_LANES ? (int)(row1 - row) : TILE_LANES, width, a, d, count,
                                         k, to_dw);
                    else if (width == WIDE)
                        tile_weights_wide(a, d, count, k, to_dw);
                    else
                        tile_weights_narrow(a, d, count, k, to_dw);
                }
                o += width;
            }
        }
    }
}
