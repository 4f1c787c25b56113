/* Direct 3x3 convolution of stride 1 on bands of rows (conv.h). Each value of the band is loaded once and serves the three
 * taps of a row: a tile of COLS pixels needs COLS + 2 loads for 3 COLS multiplications by vectors. */
#include <limits.h>
#include <string.h>

#include "conv.h"
#include "tile.h"

enum { TAPS = 3 };

static void pack_piece(const band_plan *p, const band_piece *at, const sd_operand *in, int slice0, float *band) {
    for (int i = 0; i < at->images; i++)
        SD_ISA_NAME(pack_band)(&p->band, in, at->image + i, at->row, slice0, band + (size_t)i * p->image_elems);
}

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

/* The tile that wastes the fewest pixels of a row; the last of a row is moved back so that it ends with the row. Tiles of two
 * rows need images whole (band_plan_of). */
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

/* All outputs of one image's rows in the band. */
static void multiply_rows(const conv3x3 *conv, const band_plan *p, const tile_choice *tile_of, const float *band,
                          int rows, const float *weights, float *out) {
    const size_t row_elems = (size_t)p->band.columns * SLICE, pixel = (size_t)conv->out;
    for (int i = 0; i < rows; i += tile_of->rows) {
        const int row = rows - i < tile_of->rows ? rows - tile_of->rows : i;
        for (int j = 0; j < conv->w; j += tile_of->cols) {
            const int column = conv->w - j < tile_of->cols ? conv->w - tile_of->cols : j;
            tile_of->run(band + (size_t)row * row_elems + (size_t)column * SLICE, p->band.slice_elems, row_elems,
                         p->band.slices, weights, out + ((size_t)row * (size_t)conv->w + (size_t)column) * pixel,
                         (size_t)conv->w * pixel, pixel);
        }
    }
}

void SD_ISA_NAME(conv_rows)(const conv3x3 *conv, const sd_operand *in, float *out, const sd_epilogue *epilogue,
                            float *scratch) {
    const band_plan p = band_plan_of(conv->images, conv->h, conv->w, conv->in, conv->out);
    const tile_choice tile_of = choose_tile(conv->w);
    const size_t group_elems = TAPS * TAPS * (size_t)conv->in * VL, pixel = (size_t)conv->out;
    float *weights = scratch, *partials = weights + TAPS * TAPS * (size_t)conv->in * pixel;
    float *bands = partials + (size_t)p.pieces * partial_elems(conv->out);
    pack_weights(conv, weights);
#pragma omp parallel for schedule(static)
    for (long n = 0; n < p.pieces; n++) {
        const band_piece at = band_piece_at(&p, conv->images, n);
        const size_t first = ((size_t)at.image * (size_t)conv->h + (size_t)at.row) * (size_t)conv->w;
        float *band = bands + (size_t)conv_thread() * (size_t)p.band.slices * p.band.slice_elems;
        pack_piece(&p, &at, in, 0, band);
        for (int o = 0; o < conv->out; o += VL)
            for (int i = 0; i < at.images; i++)
                multiply_rows(conv, &p, &tile_of, band + (size_t)i * p.image_elems, at.rows,
                              weights + (size_t)(o / VL) * group_elems,
                              out + (first + (size_t)i * (size_t)conv->h * (size_t)conv->w) * pixel + o);
        SD_ISA_NAME(finish_piece)
        (epilogue, first, (size_t)at.images * (size_t)at.rows * (size_t)conv->w, conv->out, out, (size_t)n, partials);
    }
    fold_pieces(epilogue, (size_t)p.pieces, conv->out, partials);
}

/* ---- backward weights ---- */

enum { LANES = VL == 16 ? 8 : 4 }; /* input channels of a tile: 3 x LANES sums and 3 vectors of dy fill the registers */

/* dw[s][lane] += sum over the pixels of rows: band at tap (r, s) times dy. Three vectors of dy roll along a row. */
static __attribute__((noinline)) void tile_weights(const float *band, size_t row_elems, const float *dy, size_t k,
                                                   int rows, int w, float *dw, size_t tap_elems) {
    vec left[LANES], middle[LANES], right[LANES]; /* s = 0, 1, 2 */
    UNROLL
    for (int l = 0; l < LANES; l++) {
        left[l] = load(dw + (size_t)l * k);
        middle[l] = load(dw + tap_elems + (size_t)l * k);
        right[l] = load(dw + 2 * tap_elems + (size_t)l * k);
    }
    for (int row = 0; row < rows; row++, band += row_elems) {
        const float *x = band + SLICE;
        vec here = load(dy), before = (vec){0};
        dy += k;
        for (int j = 1; j < w; j++, x += SLICE, dy += k) {
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

/* A thread owns lanes of rows r of the filter, so each value of dw is summed by one thread, band by band, in order. */
void SD_ISA_NAME(conv_rows_backward_weights)(const sd_conv2d *conv, const sd_operand *x, const float *dy, float *dw,
                                             float *scratch) {
    const band_plan all = band_plan_of(conv->images, conv->h, conv->w, conv->c, 0);
    const size_t c = (size_t)conv->c, k = (size_t)conv->k, row_elems = (size_t)all.band.columns * SLICE;
    enum { UNITS_PER_SLICE = TAPS * SLICE / LANES };
#pragma omp parallel
    {
        const conv_share mine = conv_share_of(all.band.slices * UNITS_PER_SLICE);
        const int slice0 = mine.begin / UNITS_PER_SLICE;
        band_plan p = all;
        p.band.slices = (mine.end + UNITS_PER_SLICE - 1) / UNITS_PER_SLICE - slice0;
        float *band = scratch + (size_t)conv_thread() * (size_t)all.band.slices * all.band.slice_elems;
        for (int unit = mine.begin; unit < mine.end; unit++) {
            const size_t r = (size_t)(unit % TAPS), lane = (size_t)(unit / TAPS) * LANES;
            for (size_t s = 0; s < TAPS; s++)
                memset(dw + ((r * TAPS + s) * c + lane) * k, 0, LANES * k * sizeof(float));
        }
        for (long n = 0; n < p.pieces && mine.begin < mine.end; n++) {
            const band_piece at = band_piece_at(&p, conv->images, n);
            pack_piece(&p, &at, x, slice0, band);
            for (int unit = mine.begin; unit < mine.end; unit++) {
                const size_t r = (size_t)(unit % TAPS), lane = (size_t)(unit / TAPS) * LANES;
                const float *from =
                    band + (lane / SLICE - (size_t)slice0) * p.band.slice_elems + r * row_elems + lane % SLICE;
                for (int i = 0; i < at.images; i++) {
                    const size_t pixel = ((size_t)(at.image + i) * (size_t)conv->h + (size_t)at.row) * (size_t)conv->w;
                    for (size_t o = 0; o < k; o += VL)
                        tile_weights(from + (size_t)i * p.image_elems, row_elems, dy + pixel * k + o, k, at.rows,
                                     conv->w, dw + (r * TAPS * c + lane) * k + o, c * k);
                }
            }
        }
    }
}
