/* SPDX-License-Identifier: Apache-2.0 */
/* 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): a tile of 4x4 outputs costs 36 multiplications a pair of
 * channels instead of 144. A block is some whole rows of tiles; at each of the 36 points it is a matrix product.
 *
 *     forward           V[point][tile, in] from the input,  M[point] = V[point] U[point],  output from M
 *     backward weights  dU[point][c, k] += V[point]^T Z[point][tile, k] with Z from dy,  dw from dU
 *     backward data     the forward pass of dy, with weights rotated by 180 degrees */
#include <string.h>

#include "conv_layout.h"
#include "winograd_transforms.h"

enum { REGISTER_TILE = TILE_PIXELS }; /* blocks fill whole ones (winograd_plan_of) */
_Static_assert((int)REGISTER_TILE == (int)SHORT_REGISTER_TILE || (int)REGISTER_TILE == (int)TALL_REGISTER_TILE,
               "conv_layout.c sizes scratch for these");

/* The number of tile rows of the block that begins with tile row `first`. */
static int block_rows(const winograd_plan *p, long first) {
    return p->tile_rows - first < p->block_rows ? (int)(p->tile_rows - first) : p->block_rows;
}

/* A tile is transformed along columns, then along rows. With 16 registers these loops stay rolled: gcc would gather the
 * loads of unrolled iterations, and spill them. With 32 registers spills cost less than rolled loops (measured:
 * tests/bench/LOG.md). */
#if SD_VECTOR_FLOATS == 16
#define EACH_PASS UNROLL
#else
#define EACH_PASS KEEP_ROLLED
#endif

/* V of tile row `row` (counted over all images): to[point][slice][tile][16]. */
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
                EACH_PASS
                for (int j = 0; j < WINOGRAD_SPAN; j++) {
                    vec in[WINOGRAD_SPAN] ALIGNED;
                    UNROLL
                    for (int i = 0; i < WINOGRAD_SPAN; i++)
                        in[i] = load(from + (size_t)i * row + j * SLICE);
                    transform_input(in, 1, columns + j, WINOGRAD_SPAN);
                }
                EACH_PASS
                for (int i = 0; i < WINOGRAD_SPAN; i++) {
                    vec v[WINOGRAD_SPAN] ALIGNED;
                    transform_input(columns + i * WINOGRAD_SPAN, 1, v, 1);
                    UNROLL
                    for (int j = 0; j < WINOGRAD_SPAN; j++)
                        store(out + (size_t)(i * WINOGRAD_SPAN + j) * point_elems, v[j]);
                }
            }
}

/* Packs `run` tile rows of one image as a band; `first` counts tile rows over all images. */
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

/* How many of the `rows` tile rows from `first` on belong to the first one's image. */
static int run_of(const winograd_plan *p, long first, int rows) {
    const int left = p->tiles_h - (int)(first % p->tiles_h);
    return left < rows ? left : rows;
}

/* Computes V of tile rows [begin, end) of the block that begins with tile row `first`. */
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

/* Computes U[point], packed as by pack_b(). plain: [3, 3, in, out]. */
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

/* plain[tap][i][o] of rotated and transposed weights. */
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

/* Transforms a row of tiles of M to at most `rows` rows of output. */
static __attribute__((noinline)) void transform_output_row(const winograd_plan *p, const float *m, int rows,
                                                           float *out) {
    const size_t pixel = (size_t)p->out, row = (size_t)p->w * pixel, point_elems = p->m_point_elems;
    for (int tile = 0; tile < p->tiles_w; tile++) {
        const int left = p->w - tile * WINOGRAD_TILE, columns = left < WINOGRAD_TILE ? left : WINOGRAD_TILE;
        for (size_t o = 0; o < pixel; o += VL) {
            const float *from = m + (size_t)tile * pixel + o;
            float *to = out + (size_t)(tile * WINOGRAD_TILE) * pixel + o;
            vec half[WINOGRAD_TILE * WINOGRAD_SPAN] ALIGNED;
            EACH_PASS
            for (int j = 0; j < WINOGRAD_SPAN; j++) {
                vec in[WINOGRAD_SPAN] ALIGNED;
                UNROLL
                for (int i = 0; i < WINOGRAD_SPAN; i++)
                    in[i] = load(from + (size_t)(i * WINOGRAD_SPAN + j) * point_elems);
                transform_output(in, 1, half + j, WINOGRAD_SPAN);
            }
            EACH_PASS
            for (int i = 0; i < WINOGRAD_TILE; i++) {
                vec y[WINOGRAD_TILE] ALIGNED;
                transform_output(half + i * WINOGRAD_SPAN, 1, y, 1);
                if (i >= rows)
                    continue;
                UNROLL
                for (int j = 0; j < WINOGRAD_TILE; j++)
                    if (j < columns)
                        store(to + (size_t)i * row + (size_t)j * pixel, y[j]);
            }
        }
    }
}

/* Writes the output of tile rows [begin, end) of the block that begins with tile row `first`, and applies the
 * epilogue. */
static void end_tile_rows(const winograd_plan *p, const float *m, long first, int begin, int end, float *out,
                          const sd_epilogue *epilogue, float *partials) {
    for (int i = begin; i < end; i++) {
        const long row = first + i;
        const int left = p->h - (int)(row % p->tiles_h) * WINOGRAD_TILE;
        const int rows = left < WINOGRAD_TILE ? left : WINOGRAD_TILE;
        const size_t pixel = winograd_first_pixel(p, row);
        transform_output_row(p, m + (size_t)(i * p->tiles_w) * (size_t)p->out, rows, out + pixel * (size_t)p->out);
        finish_piece(epilogue, pixel, (size_t)rows * (size_t)p->w, p->out, out, (size_t)row, partials);
    }
}

/* M[point] = V[point] U[point] for a block. */
static void multiply_point(const winograd_plan *p, size_t point, const float *v, const float *u, int tiles, float *m) {
    size_t offset[WINOGRAD_MAX_TILES];
    for (int t = 0; t < tiles; t++)
        offset[t] = (size_t)t * (size_t)p->out;
    panel_multiply(v + point * p->v_point_elems, p->slice_elems, p->in / SLICE,
                   u + point * packed_b_elems((size_t)p->in, (size_t)p->out), (size_t)p->out, tiles, offset,
                   m + point * p->m_point_elems);
}

/* Computes U of all points. plain: room for the weights. */
static void prepare_filters(const conv3x3 *conv, float *plain, float *u, int threads) {
    if (conv->turned)
        turn_weights(conv, plain, threads);
    transform_filters(conv, conv->turned ? plain : conv->weights, u, threads);
}

void conv_winograd_forward(const conv3x3 *conv, const sd_operand *x, float *y, const sd_epilogue *epilogue,
                           sd_scratch scratch) {
    const winograd_forward_scratch s = conv_winograd_forward_layout(conv, REGISTER_TILE, scratch);
    const winograd_plan p = s.plan;
    prepare_filters(conv, NULL, s.u, scratch.threads);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (long n = 0; n < p.blocks; n++) {
        const winograd_block b = winograd_block_layout(&p, own(&s.blocks));
        const long first = n * p.block_rows;
        const int rows = block_rows(&p, first);
        transform_input_rows(&p, x, first, 0, rows, own(&s.bands), b.v);
        for (size_t point = 0; point < WINOGRAD_POINTS; point++)
            multiply_point(&p, point, b.v, s.u, rows * p.tiles_w, b.m);
        end_tile_rows(&p, b.m, first, 0, rows, y, epilogue, s.partials);
    }
    fold_pieces(epilogue, (size_t)p.tile_rows, conv->out, s.partials);
}

/* ---- backward ---- */

/* Z of a row of tiles of dy in a band, one slice: z[point][tile][k]. */
static __attribute__((noinline)) void transform_gradient_row(const winograd_plan *p, const float *band, float *z) {
    const size_t row = (size_t)p->columns * SLICE, point_elems = p->m_point_elems;
    for (int tile = 0; tile < p->tiles_w; tile++)
        for (int lane = 0; lane < SLICE; lane += VL) {
            const float *from = band + row + SLICE + (size_t)(tile * WINOGRAD_TILE * SLICE + lane);
            float *to = z + (size_t)(tile * p->out + lane);
            vec half[WINOGRAD_SPAN * WINOGRAD_TILE] ALIGNED;
            EACH_PASS
            for (int j = 0; j < WINOGRAD_TILE; j++) {
                vec in[WINOGRAD_TILE] ALIGNED;
                UNROLL
                for (int i = 0; i < WINOGRAD_TILE; i++)
                    in[i] = load(from + (size_t)i * row + j * SLICE);
                transform_gradient(in, 1, half + j, WINOGRAD_TILE);
            }
            EACH_PASS
            for (int i = 0; i < WINOGRAD_SPAN; i++) {
                vec point[WINOGRAD_SPAN] ALIGNED;
                transform_gradient(half + i * WINOGRAD_TILE, 1, point, 1);
                UNROLL
                for (int j = 0; j < WINOGRAD_SPAN; j++)
                    store(to + (size_t)(i * WINOGRAD_SPAN + j) * point_elems, point[j]);
            }
        }
}

/* Z of tile rows [begin, end) of a block of dy (z_plan, where dy is the output), and V of the same for dx (v_plan,
 * where dy is the input). v may be NULL. */
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

/* dw from dU. */
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

/* The backward pass, in chunks of blocks (conv_chunks.h). */
typedef struct backward_pass {
    const sd_operand *x, *dy;
    float *dx; /* may be NULL */
    const sd_epilogue *epilogue;
    winograd_backward_scratch s;
} backward_pass;

/* Floats of dU[point]. */
static size_t point_weights(const backward_pass *b) { return (size_t)b->s.x_plan.in * (size_t)b->s.x_plan.out; }

/* Adds the block that begins with tile row `first` to du, and writes its dx. */
static void backward_block(const backward_pass *b, long first, float *du) {
    const winograd_plan *p = &b->s.x_plan, *q = &b->s.dy_plan;
    const winograd_block in = winograd_block_layout(p, own(&b->s.x_blocks));
    const winograd_block out = winograd_block_layout(q, own(&b->s.dy_blocks));
    const int rows = block_rows(p, first), tiles = rows * p->tiles_w;
    const conv_share mine = conv_part_of(&b->s.chunks, rows), points = conv_part_of(&b->s.chunks, WINOGRAD_POINTS);
    float *band = own(&b->s.bands);
    transform_input_rows(p, b->x, first, mine.begin, mine.end, band, in.v);
    transform_gradient_rows(p, q, b->dy, first, mine.begin, mine.end, band, in.m, b->dx ? out.v : NULL);
    conv_wait(&b->s.chunks);
    for (size_t point = (size_t)points.begin; point < (size_t)points.end; point++) {
        const size_t k = (size_t)p->out;
        panel_multiply_transposed(in.v + point * p->v_point_elems, p->slice_elems, (size_t)p->in,
                                  in.m + point * p->m_point_elems, k, k, k, tiles, du + point * point_weights(b));
        if (b->dx)
            multiply_point(q, point, out.v, b->s.u, tiles, out.m);
    }
    conv_wait(&b->s.chunks);
    if (b->dx)
        end_tile_rows(q, out.m, first, mine.begin, mine.end, b->dx, b->epilogue, b->s.partials);
}

static void backward_chunk(const backward_pass *b, int n) {
    const conv_share points = conv_part_of(&b->s.chunks, WINOGRAD_POINTS);
    const size_t weights = point_weights(b);
    float *du = conv_chunk_gradient(n, WINOGRAD_POINTS * weights, b->s.du, b->s.other_du);
    memset(du + (size_t)points.begin * weights, 0, (size_t)(points.end - points.begin) * weights * sizeof(float));
    for (long block = conv_first_piece(&b->s.chunks, n); block < conv_first_piece(&b->s.chunks, n + 1); block++)
        backward_block(b, block * b->s.x_plan.block_rows, du);
}

void conv_winograd_backward(const sd_conv2d *conv, const sd_operand *x, const sd_operand *dy, const float *w, float *dw,
                            float *dx, const sd_epilogue *epilogue, sd_scratch scratch) {
    const winograd_backward_scratch s = conv_winograd_backward_layout(conv, REGISTER_TILE, scratch);
    const conv3x3 data = conv3x3_backward_data(conv, w);
    const backward_pass b = {x, dy, dx, epilogue, s};
    if (dx)
        prepare_filters(&data, s.du, s.u, scratch.threads);
#pragma omp parallel num_threads(scratch.threads)
    {
        const conv_share mine = conv_chunks_of_thread(&s.chunks);
        for (int n = mine.begin; n < mine.end; n++)
            backward_chunk(&b, n);
#pragma omp barrier
        add_chunks(&s.chunks, WINOGRAD_POINTS * point_weights(&b), s.du, s.other_du);
        transform_filter_gradients(conv, s.du, dw);
    }
    if (dx)
        fold_pieces(epilogue, (size_t)s.x_plan.tile_rows, conv->c, s.partials);
}
