/* SPDX-License-Identifier: Apache-2.0 */
#include "conv_layout.h"

/* Limits of the gradients of all chunks: of Winograd's dU (8 chunks of 64 x 64 channels), and of dw. */
enum { MAX_DU_BYTES = 5 * 1024 * 1024, MAX_DW_BYTES = 2 * 1024 * 1024 };

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* A buffer for each piece under way: one per thread, or one if threads share pieces. */
static per_thread take_for_pieces(scratch_cursor *cursor, const conv_chunks *chunks, size_t elems) {
    return pieces_are_shared(chunks) ? take_shared(cursor, elems) : take_per_thread(cursor, elems);
}

static float *take_other_gradients(scratch_cursor *cursor, const conv_chunks *chunks, size_t elems) {
    return take(cursor, (size_t)(chunks->count - 1) * elems);
}

/* ---- panels ---- */

/* Floats of the largest panel of up to `taps` taps, for any number of pixels. */
static size_t panel_elems(size_t taps, size_t channels, size_t columns) {
    size_t most = 0;
    for (size_t t = 1; t <= taps; t++) {
        const panel_cut cut = conv_cut_panels(t * channels, columns, MAX_PANEL_PIXELS);
        most = larger(most, (size_t)cut.pixels * (size_t)cut.slices * SLICE);
    }
    return most;
}

static product_scratch product_layout(size_t pixels, size_t taps, int channels, int columns, sd_scratch scratch) {
    const size_t rows = taps * (size_t)channels;
    scratch_cursor cursor = {.scratch = scratch};
    product_scratch s;
    s.packed = take(&cursor, packed_b_elems(rows, (size_t)columns));
    s.partials = take(&cursor, (pixels / MIN_PANEL_PIXELS + 1) * partial_elems(columns));
    s.panels = take_per_thread(&cursor, panel_elems(taps, (size_t)channels, (size_t)columns));
    s.rooms = take_per_thread(&cursor, conv_room_elems(rows, channels));
    s.elems = cursor.elems;
    return s;
}

static size_t taps_of(const sd_conv2d *conv) { return (size_t)conv->r * (size_t)conv->s; }
static size_t pixels_in(const sd_conv2d *conv) { return (size_t)conv->images * (size_t)conv->h * (size_t)conv->w; }
static size_t pixels_out(const sd_conv2d *conv) {
    return (size_t)conv->images * (size_t)sd_conv2d_out_h(conv) * (size_t)sd_conv2d_out_w(conv);
}

product_scratch conv_forward_product_layout(const sd_conv2d *conv, sd_scratch scratch) {
    return product_layout(pixels_out(conv), taps_of(conv), conv->c, conv->k, scratch);
}

product_scratch conv_backward_product_layout(const sd_conv2d *conv, sd_scratch scratch) {
    return product_layout(pixels_in(conv), taps_of(conv), conv->k, conv->c, scratch);
}

weights_scratch conv_weights_layout(const sd_conv2d *conv, sd_scratch scratch) {
    const size_t panels = (pixels_out(conv) + WEIGHT_PANEL_PIXELS - 1) / WEIGHT_PANEL_PIXELS;
    const size_t k = (size_t)conv->k, elems = taps_of(conv) * (size_t)conv->c * k;
    scratch_cursor cursor = {.scratch = scratch};
    weights_scratch s = {.chunks = conv_cut_chunks((long)panels, elems, MAX_DW_BYTES)};
    s.gradients = take_for_pieces(&cursor, &s.chunks, WEIGHT_PANEL_PIXELS * (k < WEIGHT_COLUMNS ? k : WEIGHT_COLUMNS));
    s.panels = take_per_thread(&cursor, WEIGHT_BLOCK_SLICES * SLICE * WEIGHT_PANEL_PIXELS);
    s.rooms = take_per_thread(&cursor, conv_room_elems(taps_of(conv) * (size_t)conv->c, conv->c));
    s.dw = take_other_gradients(&cursor, &s.chunks, elems);
    s.elems = cursor.elems;
    return s;
}

/* ---- pointwise ---- */

pointwise_panel conv_pointwise_panel_layout(const sd_conv2d *conv, size_t pixels, float *memory) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    scratch_cursor cursor = {.scratch.memory = memory};
    pointwise_panel p;
    p.rows = take(&cursor, pixels * k);
    p.dy = take(&cursor, pixels * k);
    p.x = take(&cursor, pixels * c);
    p.elems = cursor.elems;
    return p;
}

pointwise_scratch conv_pointwise_layout(const sd_conv2d *conv, sd_scratch scratch) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    scratch_cursor cursor = {.scratch = scratch};
    pointwise_scratch s = {.pixels = conv_pointwise_pixels(conv)};
    const size_t panels = (pixels_in(conv) + s.pixels - 1) / s.pixels;
    s.chunks = conv_cut_chunks((long)panels, c * k, MAX_DW_BYTES);
    s.weights = take(&cursor, packed_b_elems(k, c));
    s.panels = take_for_pieces(&cursor, &s.chunks, conv_pointwise_panel_layout(conv, s.pixels, NULL).elems);
    s.dw = take_other_gradients(&cursor, &s.chunks, c * k);
    s.partials = take(&cursor, panels * partial_elems(conv->c));
    s.elems = cursor.elems;
    return s;
}

/* ---- rows ---- */

static size_t weight_elems(size_t in, size_t out) { return 9 * in * out; }

/* channels: packed together. */
static band_plan plan_bands(int images, int h, int w, int channels, size_t weights) {
    return band_plan_of(images, h, w, channels, weights * sizeof(float));
}

rows_forward_scratch conv_rows_forward_layout(const conv3x3 *conv, sd_scratch scratch) {
    const size_t weights = weight_elems((size_t)conv->in, (size_t)conv->out);
    scratch_cursor cursor = {.scratch = scratch};
    rows_forward_scratch s = {.plan = plan_bands(conv->images, conv->h, conv->w, conv->in, weights)};
    s.weights = take(&cursor, weights);
    s.partials = take(&cursor, (size_t)s.plan.pieces * partial_elems(conv->out));
    s.bands = take_per_thread(&cursor, (size_t)(conv->in / SLICE) * s.plan.slice_elems);
    s.elems = cursor.elems;
    return s;
}

rows_backward_scratch conv_rows_backward_layout(const sd_conv2d *conv, sd_scratch scratch) {
    const size_t weights = weight_elems((size_t)conv->c, (size_t)conv->k);
    scratch_cursor cursor = {.scratch = scratch};
    rows_backward_scratch s = {.plan = plan_bands(conv->images, conv->h, conv->w, conv->c + conv->k, weights)};
    s.weights = take(&cursor, weights);
    s.partials = take(&cursor, (size_t)s.plan.pieces * partial_elems(conv->c));
    s.x_band = take(&cursor, (size_t)(conv->c / SLICE) * s.plan.slice_elems);
    s.dy_band = take(&cursor, (size_t)(conv->k / SLICE) * s.plan.slice_elems);
    s.elems = cursor.elems;
    return s;
}

/* ---- Winograd ---- */

winograd_block winograd_block_layout(const winograd_plan *plan, float *memory) {
    scratch_cursor cursor = {.scratch.memory = memory};
    winograd_block b;
    b.v = take(&cursor, plan->v_elems);
    b.m = take(&cursor, plan->m_elems);
    b.elems = cursor.elems;
    return b;
}

winograd_forward_scratch conv_winograd_forward_layout(const conv3x3 *conv, int register_tile, sd_scratch scratch) {
    scratch_cursor cursor = {.scratch = scratch};
    winograd_forward_scratch s = {
        .plan = winograd_plan_of(conv->images, conv->h, conv->w, conv->in, conv->out, register_tile)};
    s.u = take(&cursor, WINOGRAD_POINTS * packed_b_elems((size_t)conv->in, (size_t)conv->out));
    s.blocks = take_per_thread(&cursor, winograd_block_layout(&s.plan, NULL).elems);
    s.bands = take_per_thread(&cursor, s.plan.band_elems);
    s.partials = take(&cursor, (size_t)s.plan.tile_rows * partial_elems(conv->out));
    s.elems = cursor.elems;
    return s;
}

winograd_backward_scratch conv_winograd_backward_layout(const sd_conv2d *conv, int register_tile, sd_scratch scratch) {
    const size_t c = (size_t)conv->c, k = (size_t)conv->k;
    scratch_cursor cursor = {.scratch = scratch};
    winograd_backward_scratch s = {
        .x_plan = winograd_plan_of(conv->images, conv->h, conv->w, conv->c, conv->k, register_tile),
        .dy_plan = winograd_plan_of(conv->images, conv->h, conv->w, conv->k, conv->c, register_tile)};
    s.chunks = conv_cut_chunks(s.x_plan.blocks, WINOGRAD_POINTS * c * k, MAX_DU_BYTES);
    s.u = take(&cursor, WINOGRAD_POINTS * packed_b_elems(k, c));
    s.du = take(&cursor, WINOGRAD_POINTS * c * k);
    s.other_du = take_other_gradients(&cursor, &s.chunks, WINOGRAD_POINTS * c * k);
    s.x_blocks = take_for_pieces(&cursor, &s.chunks, winograd_block_layout(&s.x_plan, NULL).elems);
    s.dy_blocks = take_for_pieces(&cursor, &s.chunks, winograd_block_layout(&s.dy_plan, NULL).elems);
    s.bands = take_per_thread(&cursor, larger(s.x_plan.band_elems, s.dy_plan.band_elems));
    s.partials = take(&cursor, (size_t)s.x_plan.tile_rows * partial_elems(conv->c));
    s.elems = cursor.elems;
    return s;
}

/* ---- the maximum over both passes and all instruction sets ---- */

static size_t winograd_elems(const sd_conv2d *conv, int register_tile, sd_scratch none) {
    const conv3x3 forward = conv3x3_forward(conv, NULL);
    return larger(conv_winograd_forward_layout(&forward, register_tile, none).elems,
                  conv_winograd_backward_layout(conv, register_tile, none).elems);
}

static size_t algorithm_elems(const sd_conv2d *conv, sd_scratch none) {
    const conv3x3 forward = conv3x3_forward(conv, NULL);
    switch (conv_choose(conv)) {
    case CONV_WINOGRAD:
        return larger(winograd_elems(conv, SHORT_REGISTER_TILE, none), winograd_elems(conv, TALL_REGISTER_TILE, none));
    case CONV_ROWS:
        return larger(conv_rows_forward_layout(&forward, none).elems, conv_rows_backward_layout(conv, none).elems);
    case CONV_POINTWISE:
        return larger(conv_forward_product_layout(conv, none).elems, conv_pointwise_layout(conv, none).elems);
    case CONV_PANELS:
        break;
    }
    return larger(conv_weights_layout(conv, none).elems, larger(conv_forward_product_layout(conv, none).elems,
                                                                conv_backward_product_layout(conv, none).elems));
}

size_t sd_conv2d_scratch_elems(const sd_conv2d *conv, int threads) {
    const sd_scratch none = {.threads = threads};
    const size_t epilogues =
        larger(sd_norm_scratch_elems(pixels_in(conv), conv->c), sd_norm_scratch_elems(pixels_out(conv), conv->k));
    sd_conv2d direct = *conv; /* a smaller batch may use direct algorithms */
    direct.direct = true;
    return larger(larger(algorithm_elems(conv, none), algorithm_elems(&direct, none)), epilogues);
}
