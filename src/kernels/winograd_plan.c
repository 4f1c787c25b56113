/* SPDX-License-Identifier: Apache-2.0 */
#include "winograd.h"

enum {
    /* Maximal tiles of a block: V and M stay in the cache ... */
    SMALL_BLOCK_TILES = 56,
    BLOCK_TILES = 28,
    LARGE_BLOCK_TILES = 112, /* ... but more tiles share a large U */
    SMALL_CHANNELS = 16,
    LARGE_CHANNELS = 256,
    SPARE_TILES = TALL_REGISTER_TILE, /* a register tile may read this many past the last */
    SPARE_ELEMS = 16,                 /* avoids strides of a multiple of 4 KB between points (cache conflicts) */
};

static int most_tiles(int channels) {
    return channels >= LARGE_CHANNELS ? LARGE_BLOCK_TILES : channels > SMALL_CHANNELS ? BLOCK_TILES : SMALL_BLOCK_TILES;
}

/* The largest number of tile rows with at most `tiles` tiles that fill whole register tiles; if none does, the
 * largest. */
static int fitting_rows(int tiles, int tiles_w, int register_tile) {
    const int most = tiles / tiles_w;
    for (int rows = most; rows > 0; rows--)
        if (rows * tiles_w % register_tile == 0)
            return rows;
    return most > 0 ? most : 1;
}

winograd_plan winograd_plan_of(int images, int h, int w, int in, int out, int register_tile) {
    winograd_plan p = {.h = h,
                       .w = w,
                       .in = in,
                       .out = out,
                       .tiles_h = (h + WINOGRAD_TILE - 1) / WINOGRAD_TILE,
                       .tiles_w = (w + WINOGRAD_TILE - 1) / WINOGRAD_TILE};
    p.tile_rows = (long)images * p.tiles_h;
    p.block_rows = fitting_rows(most_tiles(in > out ? in : out), p.tiles_w, register_tile);
    if (p.block_rows > p.tile_rows)
        p.block_rows = (int)p.tile_rows;
    p.blocks = (p.tile_rows + p.block_rows - 1) / p.block_rows;
    p.columns = p.tiles_w * WINOGRAD_TILE + 2;
    const size_t tiles = (size_t)p.block_rows * (size_t)p.tiles_w, slices = (size_t)in / SLICE;
    const int band_tile_rows = p.block_rows < p.tiles_h ? p.block_rows : p.tiles_h;
    p.slice_elems = (tiles + SPARE_TILES) * SLICE;
    p.v_point_elems = slices * p.slice_elems + SPARE_ELEMS;
    p.v_elems = WINOGRAD_POINTS * p.v_point_elems;
    p.m_point_elems = tiles * (size_t)out + SPARE_ELEMS;
    p.m_elems = WINOGRAD_POINTS * p.m_point_elems;
    p.band_slice_elems = (size_t)(band_tile_rows * WINOGRAD_TILE + 2) * (size_t)p.columns * SLICE;
    p.band_elems = slices * p.band_slice_elems;
    return p;
}
