/* SPDX-License-Identifier: Apache-2.0 */
/* Direct 3x3 convolution of stride 1 on bands of rows (conv.h). A value of the band is loaded once for the three taps
 * of a row: a tile of COLS pixels needs COLS + 2 loads for 3 COLS vector multiplications. */
#include <limits.h>
#include <string.h>

#include "conv_layout.h"
#include "tile.h"

enum { TAPS = 3 };

/* ---- forward, and backward data ---- */

/* packed[group of VL outputs][r][in][s][VL] */
static void pack_weights(const conv3x3 *conv, float *packed) {
    for (int group = 0; group < conv->out; group += VL)
        for (int r = 0; r < TAPS; r++)
            for (int i = 0; i < conv->in; i++)
                for (int s = 0; s < TAPS; s++) {
                    const float *from = conv3x3_tap(conv, r * TAPS + s) + (size_t)i * conv->in_stride;
                    for (int o = 0; o < VL; o++)
                        *packed++ = from[(size_t)(group + o) * conv->out_stride];
                }
}

/* ROWS x COLS pixels of one vector of outputs. */
static inline __attribute__((always_inline)) void tile(const int rows, const int cols, const float *band,
                                                       size_t slice_elems, size_t row_elems, int slices,
                                                       const float *weights, float *out, size_t out_row,
                                                       size_t out_pixel) {
    vec acc[16];
    UNROLL
    for (int i = 0; i < rows * cols; i++)
        acc[i] = (vec){0};
    for (int r = 0; r < TAPS; r++)
        for (int slice = 0; slice < slices; slice++) {
            const float *x = band + (size_t)slice * slice_elems + (size_t)r * row_elems;
            for (int value = 0; value < SLICE; value++, x++, weights += TAPS * VL) {
                const vec w0 = load(weights), w1 = load(weights + VL), w2 = load(weights + 2 * VL);
                UNROLL
                for (int i = 0; i < rows; i++) {
                    const float *row = x + (size_t)i * row_elems;
                    UNROLL
                    for (int j = 0; j < cols + 2; j++) { /* column j is tap s of pixel j - s */
                        const float value_here = row[j * SLICE];
                        if (j < cols)
                            acc[i * cols + j] += w0 * value_here;
                        if (j >= 1 && j - 1 < cols)
                            acc[i * cols + j - 1] += w1 * value_here;
                        if (j >= 2)
                            acc[i * cols + j - 2] += w2 * value_here;
                    }
                }
            }
        }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < cols; j++)
            store(out + (size_t)i * out_row + (size_t)j * out_pixel, acc[i * cols + j]);
    }
}

typedef void (*tile_function)(const float *band, size_t slice_elems, size_t row_elems, int slices, const float *weights,
                              float *out, size_t out_row, size_t out_pixel);

#define TILE(rows, cols)                                                                                               \
    static __attribute__((noinline)) void tile_##rows##x##cols(const float *band, size_t slice_elems,                  \
                                                               size_t row_elems, int slices, const float *weights,     \
                                                               float *out, size_t out_row, size_t out_pixel) {         \
        tile(rows, cols, band, slice_elems, row_elems, slices, weights, out, out_row, out_pixel);                      \
    }
#if SD_VECTOR_FLOATS == 16
TILE(1, 16)
TILE(1, 14)
TILE(2, 8)
TILE(2, 7)
#else
TILE(1, 8)
TILE(1, 7)
#endif

typedef struct tile_choice {
    int rows, cols;
    tile_function run;
} tile_choice;

/* The tile that computes the fewest pixels of a row twice: the last tile is shifted left to end with the row. Tiles of
 * two rows need whole images (band_plan_of). */
static tile_choice choose_tile(int w) {
    static const tile_choice choices[] = {
#if SD_VECTOR_FLOATS == 16
        {1, 16, tile_1x16},
        {1, 14, tile_1x14},
        {2, 8, tile_2x8},
        {2, 7, tile_2x7}
#else
        {1, 8, tile_1x8},
        {1, 7, tile_1x7}
#endif
    };
    tile_choice best = {0};
    int least = INT_MAX;
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const int computed = (w + choices[i].cols - 1) / choices[i].cols * choices[i].cols;
        if (choices[i].cols <= w && computed < least && !(choices[i].rows > 1 && w >= BAND_SINGLE_ROW_WIDTH)) {
            best = choices[i];
            least = computed;
        }
    }
    return best;
}

/* Computes all outputs of one image's rows in the band. */
static void multiply_rows(const band_plan *p, const tile_choice *tile_of, const float *band, int slices, int rows,
                          const float *weights, float *out, size_t pixel) {
    for (int i = 0; i < rows; i += tile_of->rows) {
        const int row = rows - i < tile_of->rows ? rows - tile_of->rows : i;
        for (int j = 0; j < p->w; j += tile_of->cols) {
            const int column = p->w - j < tile_of->cols ? p->w - tile_of->cols : j;
            tile_of->run(band + (size_t)row * p->row_elems + (size_t)column * SLICE, p->slice_elems, p->row_elems,
                         slices, weights, out + ((size_t)row * (size_t)p->w + (size_t)column) * pixel,
                         (size_t)p->w * pixel, pixel);
        }
    }
}

/* Packs slices [slice0, slice0 + slices) of a piece. */
static void pack_piece(const band_plan *p, const band_piece *at, const sd_operand *x, int c, int slice0, int slices,
                       float *band) {
    const band_shape shape = {.h = p->h,
                              .w = p->w,
                              .c = c,
                              .rows = at->rows + 2,
                              .columns = p->w + 2,
                              .slices = slices,
                              .slice_elems = p->slice_elems};
    for (int i = 0; i < at->images; i++)
        pack_band(&shape, x, at->image + i, at->row, slice0, band + (size_t)i * p->image_elems);
}

/* Computes a group of VL outputs of a packed piece. */
static void multiply_piece(const band_plan *p, const band_piece *at, const tile_choice *tile_of, const conv3x3 *conv,
                           const float *band, const float *weights, int group, float *out) {
    const size_t pixel = (size_t)conv->out, image_pixels = (size_t)p->h * (size_t)p->w;
    for (int i = 0; i < at->images; i++)
        multiply_rows(p, tile_of, band + (size_t)i * p->image_elems, conv->in / SLICE, at->rows,
                      weights + (size_t)group * TAPS * TAPS * (size_t)conv->in * VL,
                      out + (band_first_pixel(p, at) + (size_t)i * image_pixels) * pixel + (size_t)group * VL, pixel);
}

void conv_rows_forward(const conv3x3 *conv, const sd_operand *x, float *y, const sd_epilogue *epilogue,
                       sd_scratch scratch) {
    const rows_forward_scratch s = conv_rows_forward_layout(conv, scratch);
    const band_plan p = s.plan;
    const tile_choice tile_of = choose_tile(conv->w);
    pack_weights(conv, s.weights);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (long n = 0; n < p.pieces; n++) {
        const band_piece at = band_piece_at(&p, n);
        float *band = own(&s.bands);
        pack_piece(&p, &at, x, conv->in, 0, conv->in / SLICE, band);
        for (int group = 0; group < conv->out / VL; group++)
            multiply_piece(&p, &at, &tile_of, conv, band, s.weights, group, y);
        finish_piece(epilogue, band_first_pixel(&p, &at), band_pixels(&p, &at), conv->out, y, (size_t)n, s.partials);
    }
    fold_pieces(epilogue, (size_t)p.pieces, conv->out, s.partials);
}

/* ---- backward ---- */

enum { LANES = VL == 16 ? 8 : 4 }; /* input channels of a tile: 3 LANES sums and 3 vectors of dy fill the registers */

/* dw[s][lane] += sum over pixels of x at tap (r, s) times dy. Three vectors of dy move along a row. */
static __attribute__((noinline)) void tile_weights(const float *x_band, const float *dy_band, size_t row_elems,
                                                   int rows, int w, float *dw, size_t k, size_t tap_elems) {
    vec left[LANES], middle[LANES], right[LANES]; /* s = 0, 1, 2 */
    UNROLL
    for (int l = 0; l < LANES; l++) {
        left[l] = load(dw + (size_t)l * k);
        middle[l] = load(dw + tap_elems + (size_t)l * k);
        right[l] = load(dw + 2 * tap_elems + (size_t)l * k);
    }
    for (int row = 0; row < rows; row++, x_band += row_elems, dy_band += row_elems) {
        const float *x = x_band, *dy = dy_band;
        vec before = (vec){0}, here = load(dy);
        for (int j = 1; j < w; j++, x += SLICE) {
            dy += SLICE;
            const vec next = load(dy);
            UNROLL
            for (int l = 0; l < LANES; l++) {
                const float value = x[l];
                left[l] += next * value;
                middle[l] += here * value;
                right[l] += before * value;
            }
            before = here;
            here = next;
        }
        UNROLL
        for (int l = 0; l < LANES; l++) {
            middle[l] += here * x[l];
            right[l] += before * x[l];
        }
    }
    UNROLL
    for (int l = 0; l < LANES; l++) {
        store(dw + (size_t)l * k, left[l]);
        store(dw + tap_elems + (size_t)l * k, middle[l]);
        store(dw + 2 * tap_elems + (size_t)l * k, right[l]);
    }
}

/* dw of LANES input channels at filter row r, all outputs, from a piece's packed bands. */
static void add_weights(const band_plan *p, const band_piece *at, const sd_conv2d *conv, const float *x_band,
                        const float *dy_band, size_t lane, size_t r, float *dw) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    const float *x = x_band + lane / SLICE * p->slice_elems + r * p->row_elems + SLICE + lane % SLICE;
    for (size_t o = 0; o < k; o += VL) {
        const float *dy = dy_band + o / SLICE * p->slice_elems + p->row_elems + SLICE + o % SLICE;
        for (int i = 0; i < at->images; i++)
            tile_weights(x + (size_t)i * p->image_elems, dy + (size_t)i * p->image_elems, p->row_elems, at->rows, p->w,
                         dw + (r * TAPS * c + lane) * k + o, k, c * k);
    }
}

/* All threads share each piece. One thread at a time sums a value of dw, piece by piece, in order. */
void conv_rows_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                        float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    const conv3x3 data = conv3x3_backward_data(conv, w);
    const rows_backward_scratch s = conv_rows_backward_layout(conv, scratch);
    const band_plan p = s.plan;
    const tile_choice tile_of = choose_tile(conv->w);
    const int x_slices = conv->c / SLICE, dy_slices = conv->k / SLICE;
    if (dx)
        pack_weights(&data, s.weights);
    memset(dw, 0, TAPS * TAPS * (size_t)conv->c * (size_t)conv->k * sizeof(float));
#pragma omp parallel num_threads(scratch.threads)
    for (long n = 0; n < p.pieces; n++) {
        const band_piece at = band_piece_at(&p, n);
        const conv_share x_mine = conv_share_of(x_slices), dy_mine = conv_share_of(dy_slices);
        if (x_mine.begin < x_mine.end)
            pack_piece(&p, &at, x, conv->c, x_mine.begin, x_mine.end - x_mine.begin,
                       s.x_band + (size_t)x_mine.begin * p.slice_elems);
        if (dy_mine.begin < dy_mine.end)
            pack_piece(&p, &at, dy, conv->k, dy_mine.begin, dy_mine.end - dy_mine.begin,
                       s.dy_band + (size_t)dy_mine.begin * p.slice_elems);
#pragma omp barrier
#pragma omp for schedule(static) nowait
        for (int unit = 0; unit < conv->c / LANES * TAPS; unit++)
            add_weights(&p, &at, conv, s.x_band, s.dy_band, (size_t)(unit / TAPS) * LANES, (size_t)(unit % TAPS), dw);
#pragma omp for schedule(static)
        for (int group = 0; group < (dx ? conv->c / VL : 0); group++)
            multiply_piece(&p, &at, &tile_of, &data, s.dy_band, s.weights, group, dx);
        if (dx) {
#pragma omp single
            finish_piece(epilogue, band_first_pixel(&p, &at), band_pixels(&p, &at), conv->c, dx, (size_t)n, s.partials);
        }
    }
    if (dx)
        fold_pieces(epilogue, (size_t)p.pieces, conv->c, s.partials);
}
