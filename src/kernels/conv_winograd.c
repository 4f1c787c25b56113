/* 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): a tile of 4x4 outputs costs 36 multiplications a pair of channels
 * instead of 144. Tiles are taken in blocks of whole tile rows; for each of the 36 points a block is a product of matrices.
 *
 *     forward           V[point][tile, in] from the input,  M[point] = V[point] U[point],  output from M
 *     backward weights  dU[point][c, k] += V[point]^T Z[point][tile, k] with Z from dy,  dw from dU
 */
#include <string.h>

#include "conv_layout.h"
#include "winograd_transforms.h"

/* Tile rows of the block that begins with tile row `first`. */
static int block_rows(const winograd_plan *p, long first) {
    return p->tile_rows - first < p->block_rows ? (int)(p->tile_rows - first) : p->block_rows;
}

/* A tile is transformed in two passes, of columns and of rows. Their loops stay rolled, so that a turn fits the registers: gcc
 * moves the loads of unrolled turns together, and spills them. */

/* The tiles of tile row `row` (of all images), slice by slice: to[point][slice][tile][16]. */
static __attribute__((noinline)) void transform_input_row(const winograd_plan *p, const float *band, int slices,
                                                          float *to) {
    const size_t row = (size_t)p->columns * SLICE, point_elems = p->v_point_elems;
    for (int slice = 0; slice < slices; slice++)
        for (int tile = 0; tile < p->tiles_w; tile++)
            for (int lane = 0; lane < SLICE; lane += VL) {
                const float *from =
                    band + (size_t)slice * p->band_slice_elems + (size_t)(tile * WINOGRAD_TILE * SLICE + lane);
                float *out = to + (size_t)slice * p->slice_elems + (size_t)(tile * SLICE + lane);
                vec columns[WINOGRAD_POINTS] ALIGNED;
                KEEP_ROLLED
                for (int j = 0; j < WINOGRAD_SPAN; j++) {
                    vec in[WINOGRAD_SPAN] ALIGNED;
                    UNROLL
                    for (int i = 0; i < WINOGRAD_SPAN; i++)
                        in[i] = load(from + (size_t)i * row + j * SLICE);
                    transform_input(in, 1, columns + j, WINOGRAD_SPAN);
                }
                KEEP_ROLLED
                for (int i = 0; i < WINOGRAD_SPAN; i++) {
                    vec v[WINOGRAD_SPAN] ALIGNED;
                    transform_input(columns + i * WINOGRAD_SPAN, 1, v, 1);
                    UNROLL
                    for (int j = 0; j < WINOGRAD_SPAN; j++)
                        store(out + (size_t)(i * WINOGRAD_SPAN + j) * point_elems, v[j]);
                }
            }
}

/* A run of tile rows of one image, beginning with tile row `first` of all images, as a band. */
static void pack_run(const winograd_plan *p, const sd_operand *x, long first, int run, float *band) {
    const band_shape shape = {.h = p->h,
                              .w = p->w,
                              .c = p->in,
                              .rows = run * WINOGRAD_TILE + 2,
                              .columns = p->columns,
                              .slices = p->in / SLICE,
                              .slice_elems = p->band_slice_elems};
    pack_band(&shape, x, (int)(first / p->tiles_h), (int)(first % p->tiles_h) * WINOGRAD_TILE, 0, band);
}

/* How many of `rows` tile rows, from `first` on, are of the same image. */
static int run_of(const winograd_plan *p, long first, int rows) {
    const int left = p->tiles_h - (int)(first % p->tiles_h);
    return left < rows ? left : rows;
}

/* V of tile rows [begin, end) of the block that begins with tile row `first`. */
static void transform_input_rows(const winograd_plan *p, const sd_operand *x, long first, int begin, int end,
                                 float *band, float *v) {
    for (int row = begin, run; row < end; row += run) {
        run = run_of(p, first + row, end - row);
        pack_run(p, x, first + row, run, band);
        for (int i = 0; i < run; i++)
            transform_input_row(p, band + (size_t)(i * WINOGRAD_TILE * p->columns) * SLICE, p->in / SLICE,
                                v + (size_t)((row + i) * p->tiles_w) * SLICE);
    }
}

/* ---- forward, and backward data ---- */

/* U[point], packed as pack_b() does; plain: [3, 3, in, out]. */
static void transform_filters(const conv3x3 *conv, const float *plain, float *u, int threads) {
    const size_t in = (size_t)conv->in, out = (size_t)conv->out, point_elems = packed_b_elems(in, out);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o += VL) {
            const size_t group = o / WIDE * WIDE, width = out - group > VL ? WIDE : VL;
            float *to = u + group * in + i * width + (o - group);
            vec columns[WINOGRAD_SPAN * 3] ALIGNED;
            UNROLL
            for (int s = 0; s < 3; s++) {
                vec w[3] ALIGNED;
                UNROLL
                for (int r = 0; r < 3; r++)
                    w[r] = load(plain + ((size_t)(r * 3 + s) * in + i) * out + o);
                transform_filter(w, 1, columns + s, 3);
            }
            UNROLL
            for (int r = 0; r < WINOGRAD_SPAN; r++) {
                vec point[WINOGRAD_SPAN] ALIGNED;
                transform_filter(columns + r * 3, 1, point, 1);
                UNROLL
                for (int s = 0; s < WINOGRAD_SPAN; s++)
                    store(to + (size_t)(r * WINOGRAD_SPAN + s) * point_elems, point[s]);
            }
        }
}

/* plain[tap][i][o] of weights that are turned and transposed. */
static void turn_weights(const conv3x3 *conv, float *plain, int threads) {
    enum { BLOCK = 16 };
    const size_t in = (size_t)conv->in, out = (size_t)conv->out;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int tap = 0; tap < 9; tap++) {
        const float *from = conv3x3_tap(conv, tap);
        float *to = plain + (size_t)tap * in * out;
        for (size_t i0 = 0; i0 < in; i0 += BLOCK)
            for (size_t o = 0; o < out; o++)
                for (size_t i = i0; i < i0 + BLOCK; i++)
                    to[i * out + o] = from[i * conv->in_stride + o * conv->out_stride];
    }
}

/* A row of tiles of M to at most `rows` rows of the output. */
static __attribute__((noinline)) void transform_output_row(const winograd_plan *p, const float *m, int rows,
                                                           float *out) {
    const size_t pixel = (size_t)p->out, row = (size_t)p->w * pixel, point_elems = p->m_point_elems;
    for (int tile = 0; tile < p->tiles_w; tile++) {
        const int left = p->w - tile * WINOGRAD_TILE, columns = left < WINOGRAD_TILE ? left : WINOGRAD_TILE;
        for (size_t o = 0; o < pixel; o += VL) {
            const float *from = m + (size_t)tile * pixel + o;
            float *to = out + (size_t)(tile * WINOGRAD_TILE) * pixel + o;
            vec half[WINOGRAD_TILE * WINOGRAD_SPAN] ALIGNED;
            KEEP_ROLLED
            for (int j = 0; j < WINOGRAD_SPAN; j++) {
                vec in[WINOGRAD_SPAN] ALIGNED;
                UNROLL
                for (int i = 0; i < WINOGRAD_SPAN; i++)
                    in[i] = load(from + (size_t)(i * WINOGRAD_SPAN + j) * point_elems);
                transform_output(in, 1, half + j, WINOGRAD_SPAN);
            }
            KEEP_ROLLED
            for (int i = 0; i < rows; i++) {
                vec y[WINOGRAD_TILE] ALIGNED;
                transform_output(half + i * WINOGRAD_SPAN, 1, y, 1);
                UNROLL
                for (int j = 0; j < WINOGRAD_TILE; j++)
                    if (j < columns)
                        store(to + (size_t)i * row + (size_t)j * pixel, y[j]);
            }
        }
    }
}

/* Output of tile row `row` of all images, the i-th of its block, finished. */
static void end_tile_row(const winograd_plan *p, const float *m, long row, int i, float *out,
                         const sd_epilogue *epilogue, float *partials) {
    const int h = (int)(row % p->tiles_h) * WINOGRAD_TILE, rows = p->h - h < WINOGRAD_TILE ? p->h - h : WINOGRAD_TILE;
    const size_t first = winograd_first_pixel(p, row);
    transform_output_row(p, m + (size_t)(i * p->tiles_w) * (size_t)p->out, rows, out + first * (size_t)p->out);
    finish_piece(epilogue, first, (size_t)rows * (size_t)p->w, p->out, out, (size_t)row, partials);
}

/* M[point] = V[point] U[point] of a block. */
static void multiply_point(const winograd_plan *p, size_t point, const float *v, const float *u, int tiles, float *m) {
    size_t offset[WINOGRAD_MAX_TILES];
    for (int t = 0; t < tiles; t++)
        offset[t] = (size_t)t * (size_t)p->out;
    panel_multiply(v + point * p->v_point_elems, p->slice_elems, p->in / SLICE,
                   u + point * packed_b_elems((size_t)p->in, (size_t)p->out), (size_t)p->out, tiles, offset,
                   m + point * p->m_point_elems);
}

/* U of all points; plain: room for the weights. */
static void prepare_filters(const conv3x3 *conv, float *plain, float *u, int threads) {
    if (conv->turned)
        turn_weights(conv, plain, threads);
    transform_filters(conv, conv->turned ? plain : conv->weights, u, threads);
}

void conv_winograd_forward(const conv3x3 *conv, const sd_operand *x, float *y, const sd_epilogue *epilogue,
                           sd_scratch scratch) {
    const winograd_forward_scratch s = conv_winograd_forward_layout(conv, scratch);
    const winograd_plan p = s.plan;
    prepare_filters(conv, NULL, s.u, scratch.threads);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (long n = 0; n < p.blocks; n++) {
        const winograd_block b = winograd_block_layout(&p, own(&s.blocks));
        const long first = n * p.block_rows;
        const int rows = block_rows(&p, first);
        transform_input_rows(&p, x, first, 0, rows, b.band, b.v);
        for (size_t point = 0; point < WINOGRAD_POINTS; point++)
            multiply_point(&p, point, b.v, s.u, rows * p.tiles_w, b.m);
        for (int i = 0; i < rows; i++)
            end_tile_row(&p, b.m, first + i, i, y, epilogue, s.partials);
    }
    fold_pieces(epilogue, (size_t)p.tile_rows, conv->out, s.partials);
}

/* ---- backward ---- */

/* A row of tiles of dy, out of a band: z[point][tile][k], one slice. */
static __attribute__((noinline)) void transform_gradient_row(const winograd_plan *p, const float *band, float *z) {
    const size_t row = (size_t)p->columns * SLICE, point_elems = p->m_point_elems;
    for (int tile = 0; tile < p->tiles_w; tile++)
        for (int lane = 0; lane < SLICE; lane += VL) {
            const float *from = band + row + SLICE + (size_t)(tile * WINOGRAD_TILE * SLICE + lane);
            float *to = z + (size_t)(tile * p->out + lane);
            vec half[WINOGRAD_SPAN * WINOGRAD_TILE] ALIGNED;
            KEEP_ROLLED
            for (int j = 0; j < WINOGRAD_TILE; j++) {
                vec in[WINOGRAD_TILE] ALIGNED;
                UNROLL
                for (int i = 0; i < WINOGRAD_TILE; i++)
                    in[i] = load(from + (size_t)i * row + j * SLICE);
                transform_gradient(in, 1, half + j, WINOGRAD_TILE);
            }
            KEEP_ROLLED
            for (int i = 0; i < WINOGRAD_SPAN; i++) {
                vec point[WINOGRAD_SPAN] ALIGNED;
                transform_gradient(half + i * WINOGRAD_TILE, 1, point, 1);
                UNROLL
                for (int j = 0; j < WINOGRAD_SPAN; j++)
                    store(to + (size_t)(i * WINOGRAD_SPAN + j) * point_elems, point[j]);
            }
        }
}

/* Z and, for the gradient of the input, V of tile rows [begin, end) of a block of dy. z_plan has dy as out, v_plan as in; v may be
 * NULL. */
static void transform_gradient_rows(const winograd_plan *z_plan, const winograd_plan *v_plan, const sd_operand *dy,
                                    long first, int begin, int end, float *band, float *z, float *v) {
    const int slices = v_plan->in / SLICE;
    for (int row = begin, run; row < end; row += run) {
        run = run_of(v_plan, first + row, end - row);
        pack_run(v_plan, dy, first + row, run, band);
        for (int i = 0; i < run; i++) {
            const int tile = (row + i) * v_plan->tiles_w;
            const float *from = band + (size_t)(i * WINOGRAD_TILE * v_plan->columns) * SLICE;
            for (int slice = 0; slice < slices; slice++)
                transform_gradient_row(z_plan, from + (size_t)slice * v_plan->band_slice_elems,
                                       z + (size_t)(tile * z_plan->out + slice * SLICE));
            if (v)
                transform_input_row(v_plan, from, slices, v + (size_t)tile * SLICE);
        }
    }
}

static void transform_filter_gradients(const sd_conv2d *conv, const float *du, float *dw) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
#pragma omp for schedule(static)
    for (size_t i = 0; i < c; i++)
        for (size_t o = 0; o < k; o += VL) {
            vec columns[3 * WINOGRAD_SPAN] ALIGNED;
            UNROLL
            for (int s = 0; s < WINOGRAD_SPAN; s++) {
                vec point[WINOGRAD_SPAN] ALIGNED;
                UNROLL
                for (int r = 0; r < WINOGRAD_SPAN; r++)
                    point[r] = load(du + ((size_t)(r * WINOGRAD_SPAN + s) * c + i) * k + o);
                transform_filter_gradient(point, 1, columns + s, WINOGRAD_SPAN);
            }
            UNROLL
            for (int r = 0; r < 3; r++) {
                vec w[3] ALIGNED;
                transform_filter_gradient(columns + r * WINOGRAD_SPAN, 1, w, 1);
                UNROLL
                for (int s = 0; s < 3; s++)
                    store(dw + ((size_t)(r * 3 + s) * c + i) * k + o, w[s]);
            }
        }
}

/* The threads share a block: tile rows are transformed, then points multiplied, then tile rows put out. A point's dU is summed by
 * one thread, block by block, in order. */
void conv_winograd_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                            float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    const winograd_backward_scratch s = conv_winograd_backward_layout(conv, scratch);
    const winograd_plan p = s.x_plan, q = s.dy_plan;
    const conv3x3 data = conv3x3_backward_data(conv, w);
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    if (dx)
        prepare_filters(&data, s.du, s.u, scratch.threads);
#pragma omp parallel num_threads(scratch.threads)
    {
        float *band = own(&s.bands);
#pragma omp for schedule(static)
        for (size_t point = 0; point < WINOGRAD_POINTS; point++)
            memset(s.du + point * c * k, 0, c * k * sizeof(float));
        for (long first = 0; first < p.tile_rows; first += p.block_rows) {
            const int rows = block_rows(&p, first), tiles = rows * p.tiles_w;
            const conv_share mine = conv_share_of(rows);
            transform_input_rows(&p, x, first, mine.begin, mine.end, band, s.x_v);
            transform_gradient_rows(&p, &q, dy, first, mine.begin, mine.end, band, s.z, dx ? s.dy_v : NULL);
#pragma omp barrier
#pragma omp for schedule(static)
            for (size_t point = 0; point < WINOGRAD_POINTS; point++) {
                panel_multiply_transposed(s.x_v + point * p.v_point_elems, p.slice_elems, c,
                                          s.z + point * p.m_point_elems, k, k, k, tiles, s.du + point * c * k);
                if (dx)
                    multiply_point(&q, point, s.dy_v, s.u, tiles, s.m);
            }
#pragma omp for schedule(static)
            for (int i = 0; i < (dx ? rows : 0); i++)
                end_tile_row(&q, s.m, first + i, i, dx, epilogue, s.partials);
        }
        transform_filter_gradients(conv, s.du, dw);
    }
    if (dx)
        fold_pieces(epilogue, (size_t)p.tile_rows, conv->c, s.partials);
}
